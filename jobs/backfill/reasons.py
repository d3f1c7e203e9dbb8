"""Whether a unit is to be made, and the reason in words: a pure function of what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jobs.backfill.plan import Mode
from pipelines.ledger.record import Record
from pipelines.ledger.runs import RunInfo
from pipelines.sources.inputs import Input, differences, grown, input_of

#: (kind, "settings" or "code"; fingerprint) -> lines, none where nobody knows.
Explain = Callable[[str, str], list[str]]

State = Literal["done", "stale", "failed", "missing"]
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a unit.

    ``last`` is its latest record, ``published`` the one that is visible, ``holder`` the living run
    that holds it. ``fingerprint`` and ``inputs`` are of now, ``settings`` and ``code`` too.
    ``late`` says that inputs that grew are looked for; ``stored`` that the store holds the unit.
    ``explain`` says in which settings or modules those of a fingerprint differ from those of now.
    """

    last: Record | None
    published: Record | None
    holder: RunInfo | None
    fingerprint: str
    inputs: Mapping[str, Input]
    settings: str
    code: str
    late: bool
    stored: bool
    explain: Explain

    @property
    def stale(self) -> bool:
        """Whether the output was made from other inputs, settings or code."""
        return self.published is not None and self.published.fingerprint != self.fingerprint


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a unit is to be made, the state that it is in, and the reason."""

    make: bool
    state: State
    why: str


def judge(known: Known, mode: Mode, resumes: str | None = None) -> Verdict:
    """Return whether a unit is part of a plan.

    What is published and not completed always is. ``missing`` adds units without an output and late
    data, ``failed`` those whose latest attempt did not succeed, ``stale`` exactly those whose
    output was made of other inputs, settings or code, ``all`` every unit; what an interrupted plan
    for all of them (``resumes``) has made already is left out.
    """
    last, unsettled = known.last, _unsettled(known)
    if known.published is None:
        why = unsettled or "never made"
        state: State = "failed" if unsettled else "missing"
        return Verdict(
            mode in ("missing", "all") or (mode == "failed" and last is not None), state, why
        )
    if last is not None and not last.completed:
        return Verdict(True, "failed", f"published, not completed: {unsettled}")
    if known.stale:
        verdict = _stale(known, mode, unsettled)
        if verdict.make or known.stored:
            return verdict
    elif unsettled and (mode == "failed" or known.stored):
        return Verdict(
            mode in ("failed", "all"), "failed", f"made, but the latest attempt: {unsettled}"
        )
    if not known.stored:
        how = f"; {changes(known)}" if known.stale else ""
        return Verdict(mode in ("missing", "all"), "missing", f"the store does not hold it{how}")
    if mode == "all" and not (last and last.plan == resumes):
        return Verdict(True, "done", "asked for")
    return Verdict(False, "done", "up to date")


def _stale(known: Known, mode: Mode, unsettled: str | None) -> Verdict:
    late = grown(_inputs_before(known), known.inputs) if known.late else []
    if mode == "missing" and late:
        return Verdict(True, "stale", f"late data: {_some(late)}")
    wanted = mode in ("stale", "all") or (mode == "failed" and unsettled is not None)
    return Verdict(wanted, "stale", changes(known))


def changes(known: Known) -> str:
    """Say what a unit's output was made from that is now different."""
    assert known.published is not None, "only what was made can be out of date"
    told = []
    made = known.published.details
    for kind, current in (("settings", known.settings), ("code", known.code)):
        if made[kind] != current:
            how = _some(known.explain(kind, made[kind]))
            told.append(f"{kind} changed{': ' if how else ''}{how}")
    moved = differences(_inputs_before(known), known.inputs)
    if moved:
        told.append(f"inputs changed: {_some(moved)}")
    return "; ".join(told)


def _inputs_before(known: Known) -> dict[str, Input]:
    said: Mapping[str, Any] = known.published.details["inputs"] if known.published else {}
    return {name: input_of(name, found) for name, found in said.items()}


def _some(told: list[str]) -> str:
    more = f" and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
    return "; ".join(told[:_NAMED]) + more


def _unsettled(known: Known) -> str | None:
    """Say how the latest attempt ended, if it did not succeed."""
    last = known.last
    if last is None or last.event == "succeeded":
        return None
    if last.event in ("failed", "cancelled"):
        error = last.details.get("error")
        return f"{last.event}: {error}" if error else last.event
    return f"held by {known.holder}" if known.holder else "left by a run that is gone"
