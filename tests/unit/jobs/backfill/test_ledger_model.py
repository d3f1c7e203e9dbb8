"""Runs that claim, work, die, come back and lose answers, against a model in plain Python.

What a run may do depends on records that it saw, which may be old: that is all that a zombie is.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jobs.backfill.claims import Wanted, claim, give_back
from jobs.errors import UnitsHeld
from pipelines.errors import Fenced, NotMyUnit, StorageFailed
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Event, Record
from pipelines.ledger.runs import Run
from pipelines.storage import Storage

UNITS = ("job/prog/1", "job/prog/2", "job/prog/3", "job/prog2/1")
MOST_RUNS = 5
LEASE = timedelta(seconds=60)
HELD = frozenset({"planned", "leased", "published"})
ALLOWED: dict[Event, frozenset[Event]] = {
    "planned": frozenset({"leased", "failed", "cancelled"}),
    "leased": frozenset({"published", "succeeded", "failed", "cancelled"}),
    "published": frozenset({"succeeded", "failed", "cancelled"}),
    "succeeded": frozenset(),
    "failed": frozenset({"leased"}),
    "cancelled": frozenset(),
}
#: Steps of a run after its claim; it claims by way of ``claim`` alone.
STEPS: tuple[Event, ...] = ("leased", "published", "succeeded", "failed", "cancelled")

Loss = Literal["answer", "error"]
PICK = st.integers(0, 999)


class LossyStorage(Storage):
    """A storage that can write an object and lose its answer: one retries, or tells of an error."""

    loses: Loss | None = None

    def create(self, key: str, data: bytes) -> bool:
        loses, self.loses = self.loses, None
        written = super().create(key, data)
        if loses == "error":
            raise StorageFailed(self.root, key, "timed out")
        return written and loses is None


@dataclass(frozen=True, slots=True)
class Entry:
    """What the model knows of a record."""

    run: str
    event: Event
    attempt: int
    fingerprint: str
    content: str | None = None


@dataclass(slots=True)
class Actor:
    """A run: the records that it saw and takes for the latest, and whether it does anything."""

    run: Run
    expires: datetime
    crashed: bool = False
    seen: list[Record] = field(default_factory=list)

    @property
    def token(self) -> str:
        return self.run.token

    @property
    def latest(self) -> dict[str, Record]:
        """What it takes for the latest record of each unit that it knows of."""
        return {record.unit: record for record in self.seen}


@dataclass(frozen=True, slots=True)
class Step:
    """A step of an actor, from a record that it saw."""

    actor: Actor
    last: Record
    event: Event


class LedgerMachine(RuleBasedStateMachine):
    """Several runs on one ledger, and a clock that only rules move."""

    reached: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.storage = LossyStorage(self.folder.name)
        self.time = datetime(2017, 3, 1, tzinfo=UTC)
        self.ledger = Ledger(self.storage, lambda: self.time)
        self.actors: list[Actor] = []
        self.model: dict[str, list[Entry]] = {unit: [] for unit in UNITS}
        self.contents = 0

    # --- runs, their lives, and time

    @initialize(units=st.sets(st.sampled_from(UNITS), min_size=2))
    def two_runs_start_and_one_claims(self, units: set[str]) -> None:
        self._start()
        self._start()
        self._claim(self.actors[0], units, "f")

    @precondition(lambda self: len(self.actors) < MOST_RUNS)
    @rule()
    def start_run(self) -> None:
        self._start()

    @precondition(lambda self: sum(not each.crashed for each in self.actors) > 2)
    @rule(pick=PICK)
    def crash(self, pick: int) -> None:
        _of([each for each in self.actors if not each.crashed], pick).crashed = True

    @rule(sleepers=st.sets(st.integers(0, MOST_RUNS - 1), max_size=MOST_RUNS))
    def the_leases_of_who_sleeps_run_out(self, sleepers: set[int]) -> None:
        """Those that crashed are silent for good; the sleepers may wake up as zombies."""
        self.time += LEASE
        for number, actor in enumerate(self.actors):
            if number not in sleepers and not actor.crashed:
                self._renew(actor)

    @precondition(lambda self: self._ready("planned", "leased", "published"))
    @rule(pick=PICK, heir=PICK, for_good=st.booleans())
    def a_holder_falls_silent_and_another_takes_over(
        self, pick: int, heir: int, for_good: bool
    ) -> None:
        actor, _ = _of(self._ready("planned", "leased", "published"), pick)
        others = [each for each in self.actors if each is not actor and not each.crashed]
        if others:
            self.time += LEASE
            actor.crashed = for_good
            self._renew(_of(others, heir))
            units = {unit for unit in UNITS if self._holds(actor.token, unit)}
            self._claim(_of(others, heir), units, "f")

    @rule(pick=PICK)
    def wake_up(self, pick: int) -> None:
        self._renew(_of([each for each in self.actors if not each.crashed], pick))

    # --- claiming and giving back

    @rule(
        pick=PICK,
        units=st.sets(st.sampled_from(UNITS), min_size=1),
        fingerprint=st.sampled_from(["f", "g"]),
        planned_long_ago=st.booleans(),
    )
    def claim(self, pick: int, units: set[str], fingerprint: str, planned_long_ago: bool) -> None:
        actor = _of([each for each in self.actors if not each.crashed], pick)
        self._claim(actor, units, fingerprint, planned_long_ago=planned_long_ago)

    def _claim(
        self, actor: Actor, units: set[str], fingerprint: str, *, planned_long_ago: bool = False
    ) -> None:
        wanted = [
            Wanted(unit, fingerprint, 0 if planned_long_ago else self._attempt(unit), "asked")
            for unit in units
            if not self._holds(actor.token, unit)
        ]
        expected = self._claimed(actor, wanted)
        if expected is None:
            with pytest.raises(UnitsHeld):
                claim(self.ledger, actor.token, "plan", wanted)
            self._note("held by the living")
            self._see(actor)
        else:
            claimed = claim(self.ledger, actor.token, "plan", wanted)
            assert sorted(claimed) == expected
            actor.seen += claimed.values()

    @rule(pick=PICK)
    def give_back(self, pick: int) -> None:
        actor = _of([each for each in self.actors if not each.crashed], pick)
        for unit in actor.latest:
            if self._holds(actor.token, unit):
                self._add(actor, unit, "cancelled")
        give_back(self.ledger, actor.token, actor.latest.values(), "enough")
        self._see(actor)

    # --- steps of who holds a unit, as far as it knows

    @precondition(lambda self: self._ready("planned", "failed"))
    @rule(pick=PICK)
    def lease(self, pick: int) -> None:
        actor, last = _of(self._ready("planned", "failed"), pick)
        self._try(Step(actor, last, "leased"))

    @precondition(lambda self: self._ready("leased"))
    @rule(pick=PICK)
    def publish(self, pick: int) -> None:
        actor, last = _of(self._ready("leased"), pick)
        self._try(Step(actor, last, "published"))

    @precondition(lambda self: self._ready("published"))
    @rule(pick=PICK)
    def finish(self, pick: int) -> None:
        actor, last = _of(self._ready("published"), pick)
        self._try(Step(actor, last, "succeeded"))

    @precondition(lambda self: self._ready("planned", "failed"))
    @rule(pick=PICK, until=st.sampled_from(["published", "succeeded"]))
    def an_attempt_goes_far(self, pick: int, until: Event) -> None:
        actor, last = _of(self._ready("planned", "failed"), pick)
        for event in STEPS[: STEPS.index(until) + 1]:
            if self._try(Step(actor, last, event)) not in ("written", "found"):
                return
            last = actor.latest[last.unit]

    @precondition(lambda self: self._ready("planned", "leased", "published"))
    @rule(pick=PICK)
    def fail(self, pick: int) -> None:
        actor, last = _of(self._ready("planned", "leased", "published"), pick)
        self._try(Step(actor, last, "failed"))

    # --- what should not be

    @precondition(lambda self: self._overtaken())
    @rule(pick=PICK, event=st.sampled_from(STEPS))
    def a_zombie_goes_on(self, pick: int, event: Event) -> None:
        actor, last = _of(self._overtaken(), pick)
        outcome = self._try(Step(actor, last, event))
        assert outcome in ("fenced", "refused"), outcome
        self._note("a zombie was stopped")

    @precondition(lambda self: self._ready("planned", "leased", "published", "failed"))
    @rule(pick=PICK, choice=PICK, loss=st.sampled_from(["answer", "error"]))
    def the_answer_to_a_step_is_lost(self, pick: int, choice: int, loss: Loss) -> None:
        actor, last = _of(self._ready("planned", "leased", "published", "failed"), pick)
        self._try(Step(actor, last, _of(sorted(ALLOWED[last.event]), choice)), loss)

    @precondition(lambda self: any(each.seen and not each.crashed for each in self.actors))
    @rule(pick=PICK, which=PICK, event=st.sampled_from(STEPS), same=st.booleans())
    def another_worker_tries_a_step_from_an_old_record(
        self, pick: int, which: int, event: Event, same: bool
    ) -> None:
        actor = _of([each for each in self.actors if each.seen and not each.crashed], pick)
        last = _of(actor.seen, which)
        done = [e.event for e in self.model[last.unit][last.seq : last.seq + 1] if e.event in STEPS]
        self._try(Step(actor, last, done[0] if same and done else event))

    @rule(pick=PICK)
    def look_again(self, pick: int) -> None:
        self._see(_of([each for each in self.actors if not each.crashed], pick))

    # --- what holds always

    @invariant()
    def records_are_those_of_the_model(self) -> None:
        for unit, entries in self.model.items():
            records = self._records(unit)
            assert [each.seq for each in records] == list(range(1, len(entries) + 1)), unit
            found = [(each.run, each.event, each.attempt, each.fingerprint) for each in records]
            assert found == [(e.run, e.event, e.attempt, e.fingerprint) for e in entries]
            assert [(each.publication, each.completed) for each in records] == _outputs(entries)

    @invariant()
    def what_is_visible_is_the_last_publication(self) -> None:
        latest = self.ledger.latest()
        assert list(latest) == [unit for unit in UNITS if self.model[unit]]
        for unit, last in latest.items():
            published = self.ledger.publication(last)
            contents = [entry.content for entry in self.model[unit] if entry.content]
            assert [published.details["content"]] == contents[-1:] if published else not contents
            assert published is None or self.storage.look(_fragment(unit, contents[-1]))

    @invariant()
    def an_attempt_publishes_once_and_later_ones_after_it(self) -> None:
        for unit in UNITS:
            attempts = [e.attempt for e in self._records(unit) if e.event == "published"]
            assert attempts == sorted(set(attempts))

    @invariant()
    def nobody_shares_a_unit(self) -> None:
        for unit in UNITS:
            known = [each.latest[unit] for each in self.actors if unit in each.latest]
            able = [last for last in known if last.held and last.seq == len(self.model[unit])]
            assert len(able) <= 1

    def teardown(self) -> None:
        """Everybody dies; one that comes after makes everything, as ``jobs.backfill`` does."""
        try:
            self.time += LEASE
            heir = self._start()
            wanted = [Wanted(unit, "heir", self._attempt(unit), "left") for unit in UNITS]
            for record in claim(self.ledger, heir.token, "plan", wanted).values():
                self._make(record)
            assert list(self.ledger.latest()) == list(UNITS)
            for unit, last in self.ledger.latest().items():
                assert (last.run, last.event, last.fresh) == (heir.token, "succeeded", True)
                assert [each.seq for each in self._records(unit)] == list(range(1, last.seq + 1))
        finally:
            self.folder.cleanup()

    # --- helpers

    def _start(self) -> Actor:
        run = Run(self.ledger, LEASE.total_seconds(), f"run-{len(self.actors)}")
        self.actors.append(Actor(run, self.time))
        self._renew(self.actors[-1])
        return self.actors[-1]

    def _renew(self, actor: Actor) -> None:
        actor.run.renew()
        actor.expires = self.time + LEASE

    def _lives(self, token: str) -> bool:
        return any(each.token == token and each.expires > self.time for each in self.actors)

    def _note(self, what: str) -> None:
        self.reached[what] += 1

    def _attempt(self, unit: str) -> int:
        return self.model[unit][-1].attempt if self.model[unit] else 0

    def _holds(self, token: str, unit: str) -> bool:
        entries = self.model[unit]
        return bool(entries) and entries[-1].run == token and entries[-1].event in HELD

    def _ready(self, *events: Event) -> list[tuple[Actor, Record]]:
        """Return what runs that are not dead take for the latest record of units that they hold."""
        return [
            (actor, last)
            for actor in self.actors
            for last in actor.latest.values()
            if not actor.crashed and last.event in events
        ]

    def _overtaken(self) -> list[tuple[Actor, Record]]:
        """Return the last records that runs saw of units that another run went on with."""
        return [
            (actor, last)
            for actor, last in self._ready(*ALLOWED)
            if any(e.run != actor.token for e in self.model[last.unit][last.seq : last.seq + 1])
        ]

    def _claimed(self, actor: Actor, wanted: list[Wanted]) -> list[str] | None:
        """Add to the model what a claim does; returns the units that it takes, None if it fails."""
        taken: list[str] = []
        for each in sorted(wanted, key=lambda each: each.unit):
            last = self.model[each.unit][-1] if self.model[each.unit] else None
            if last is not None and last.event in HELD:
                if self._lives(last.run):
                    for unit in taken:
                        self._add(actor, unit, "cancelled")
                    return None
                self._note("taken from the dead")
            elif (
                last is not None
                and last.event == "succeeded"
                and last.attempt > each.attempts
                and last.fingerprint == each.fingerprint
            ):
                continue
            self._add(actor, each.unit, "planned", fingerprint=each.fingerprint)
            taken.append(each.unit)
        return taken

    def _add(
        self,
        actor: Actor,
        unit: str,
        event: Event,
        content: str | None = None,
        fingerprint: str | None = None,
    ) -> None:
        said = self.model[unit][-1].fingerprint if fingerprint is None else fingerprint
        attempt = self._attempt(unit) + (event == "leased")
        self.model[unit].append(Entry(actor.token, event, attempt, said, content))

    def _see(self, actor: Actor) -> None:
        """Let a run look at the ledger again, as it does after whatever goes wrong."""
        for unit in UNITS:
            last = self.ledger.last(unit)
            if last is not None and last.run == actor.token and last not in actor.seen:
                actor.seen.append(last)

    def _expected(self, step: Step) -> str:
        if step.event not in ALLOWED[step.last.event]:
            return "refused"
        later = self.model[step.last.unit][step.last.seq :]
        if not later:
            return "written"
        attempt = step.last.attempt + (step.event == "leased")
        own = (step.actor.token, step.event, attempt)
        return "found" if (later[0].run, later[0].event, later[0].attempt) == own else "fenced"

    def _try(self, step: Step, loss: Loss | None = None) -> str:
        """Take a step, and check that it comes out, and changes the ledger, as it should."""
        expected, before = self._expected(step), self._objects()
        details = self._fragment_of(step)
        if expected == "written":
            self._add(step.actor, step.last.unit, step.event, details.get("content"))
        self.storage.loses = loss if expected == "written" else None
        with _refusals(expected, loss):
            record = self.ledger.go_on(step.last, step.event, details)
            step.actor.seen.append(record)
            assert record.details == details or expected == "found"
            assert record.seq == step.last.seq + 1
        assert (self._objects() != before) == (expected == "written")
        self._note(expected if loss is None or expected != "written" else f"lost {loss}")
        return expected

    def _fragment_of(self, step: Step) -> dict[str, Any]:
        """Write what a step publishes: a zombie comes as far as that too."""
        if step.event != "published":
            return {}
        self.contents += 1
        content = f"c{self.contents}"
        self.storage.write(_fragment(step.last.unit, content), [content.encode()])
        return {"content": content}

    def _make(self, record: Record) -> None:
        record = self.ledger.go_on(record, "leased")
        if not record.completed:
            record = self.ledger.go_on(record, "succeeded")
            again = {"run": record.run, "fingerprint": record.fingerprint, "plan": record.plan}
            record = self.ledger.append(record, "planned", unit=record.unit, **again)
            record = self.ledger.go_on(record, "leased")
        record = self.ledger.go_on(record, "published", {"content": "last"})
        self.ledger.go_on(record, "succeeded")

    def _records(self, unit: str) -> list[Record]:
        """Return a unit's records without the ledger's own ways of finding them."""
        folder = Path(self.folder.name, "_ledger", "units", unit)
        return [Record.from_json(path.read_bytes()) for path in sorted(folder.glob("*"))]

    def _objects(self) -> dict[str, bytes]:
        units = Path(self.folder.name, "_ledger", "units")
        return {str(path): path.read_bytes() for path in units.rglob("*.json")}


def _of(some: list[Any], pick: int) -> Any:
    return some[pick % len(some)]


def _outputs(entries: list[Entry]) -> list[tuple[int | None, bool]]:
    """Return what is visible as of each record, by number, and whether it is completed."""
    found: list[tuple[int | None, bool]] = []
    visible, completed = None, True
    for number, entry in enumerate(entries, 1):
        if entry.event == "published":
            visible, completed = number, False
        completed = completed or entry.event == "succeeded"
        found.append((visible, completed))
    return found


def _fragment(unit: str, content: str | None) -> str:
    return f"fragments/{unit}/{content}"


@contextlib.contextmanager
def _refusals(expected: str, loss: Loss | None) -> Iterator[None]:
    """Expect what a step raises, if it is to raise anything."""
    refused = {"refused": NotMyUnit, "fenced": Fenced}.get(expected)
    if expected == "written" and loss == "error":
        refused = StorageFailed
    if refused is None:
        yield
    else:
        with pytest.raises(refused):
            yield


def test_whatever_runs_do_a_unit_has_one_history_and_can_be_finished() -> None:
    LedgerMachine.reached.clear()
    run_state_machine_as_test(
        LedgerMachine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )
    reached = LedgerMachine.reached
    assert all(reached[what] for what in ("taken from the dead", "a zombie was stopped")), reached


def test_the_model_knows_of_takeovers_zombies_and_lost_answers() -> None:
    """The same rules in an order of our own: each kind of trouble is met, and as it should be."""
    LedgerMachine.reached.clear()
    machine = LedgerMachine()
    machine.two_runs_start_and_one_claims(set(UNITS[:2]))
    machine.claim(1, set(UNITS[1:]), "f", planned_long_ago=False)
    machine.the_answer_to_a_step_is_lost(0, choice=2, loss="answer")
    machine.the_answer_to_a_step_is_lost(0, choice=2, loss="error")
    machine.look_again(0)
    machine.a_holder_falls_silent_and_another_takes_over(0, 0, for_good=False)
    machine.a_zombie_goes_on(0, "succeeded")
    machine.a_zombie_goes_on(0, "leased")
    machine.teardown()
    assert machine.reached == {
        "held by the living": 1,
        "lost answer": 1,
        "lost error": 1,
        "taken from the dead": 2,
        "fenced": 1,
        "refused": 1,
        "a zombie was stopped": 2,
    }
