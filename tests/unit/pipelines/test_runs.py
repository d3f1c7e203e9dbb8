from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from pipelines.errors import StorageFailed
from pipelines.ledger.ledger import Ledger, stamp
from pipelines.ledger.runs import Living, Run, RunInfo, run_info
from pipelines.storage import Storage

NOON = datetime(2017, 3, 1, 12, tzinfo=UTC)
#: A third of it is how often a sign is given.
LEASE = timedelta(seconds=0.3)
PATIENCE = 10.0


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Ledger:
    return Ledger(Storage(str(tmp_path / "lake")), clock)


@pytest.fixture
def started(ledger: Ledger) -> RunInfo:
    """What a run of this very process says of itself, with a lease of a minute."""
    run = Run(ledger, 60, "me")
    run.renew()
    return said(ledger, "me")


def said(ledger: Ledger, token: str) -> RunInfo:
    info = run_info(ledger, token)
    assert info is not None
    return info


def wait_for(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline, "expected it to happen by now"
        time.sleep(0.01)


# --- whether a run lives


@pytest.mark.parametrize(
    ("after", "lives"), [(0.0, True), (59.999, True), (60.0, False), (3600.0, False)]
)
def test_a_run_lives_until_its_lease_runs_out(started: RunInfo, after: float, lives: bool) -> None:
    assert started.lives(NOON + timedelta(seconds=after)) is lives


def test_a_run_that_ended_lives_no_more(started: RunInfo) -> None:
    assert not replace(started, ended=True).lives(NOON)


def test_a_run_elsewhere_lives_as_long_as_its_lease(started: RunInfo) -> None:
    """Its process cannot be seen from here."""
    elsewhere = replace(started, host="elsewhere/pid:[1]", process=(2**22 + 1, 0.0))
    assert elsewhere.lives(NOON)
    assert not elsewhere.lives(NOON + timedelta(minutes=1))


def test_another_name_space_of_processes_is_another_host(started: RunInfo) -> None:
    """As in containers that share a name."""
    name, space = started.host.split("/", 1)
    if Path("/proc/self/ns/pid").is_symlink():
        assert space == str(Path("/proc/self/ns/pid").readlink())
    assert replace(started, host=f"{name}/pid:[1]", process=(2**22 + 1, 0.0)).lives(NOON)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing for long."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("reaped", [False, True])
def test_a_run_whose_process_was_killed_here_lives_no_more(
    started: RunInfo, sleeper: subprocess.Popen[bytes], reaped: bool
) -> None:
    """Whether or not its parent has noticed."""
    of_sleeper = (sleeper.pid, psutil.Process(sleeper.pid).create_time())
    its = replace(started, process=of_sleeper)
    assert its.lives(NOON)
    sleeper.kill()
    if reaped:
        sleeper.wait()
    wait_for(lambda: not its.lives(NOON))


def test_another_process_of_the_same_number_is_not_the_run(started: RunInfo) -> None:
    pid, since = started.process
    assert replace(started, process=(pid, since + 1.0)).lives(NOON)
    assert not replace(started, process=(pid, since - 60.0)).lives(NOON)


def test_a_run_is_named_with_its_process_and_host(started: RunInfo) -> None:
    host = started.host.split("/")[0]
    assert str(started) == f"run me (process {os.getpid()} on {host})"


# --- signs of life


def test_a_run_that_never_gave_a_sign_is_unknown(ledger: Ledger) -> None:
    assert run_info(ledger, "nobody") is None
    assert Living(ledger)["nobody"] is None


def test_a_run_is_named_by_when_it_started_and_by_chance(ledger: Ledger) -> None:
    tokens = {Run(ledger, 60).token for _ in range(3)}
    assert len(tokens) == 3
    assert all(token.startswith("20170301T120000-") for token in tokens)


def test_a_sign_says_until_when_the_run_holds_its_units(ledger: Ledger, clock: Clock) -> None:
    run = Run(ledger, 60, "me")
    clock.time += timedelta(seconds=30)
    run.renew()
    info = said(ledger, "me")
    assert (info.started, info.expires) == (stamp(NOON), stamp(NOON + timedelta(seconds=90)))
    assert info.process == (os.getpid(), psutil.Process().create_time())


def test_inside_its_block_a_run_lives_and_afterwards_not(ledger: Ledger, clock: Clock) -> None:
    with Run(ledger, 60, "me"):
        assert Living(ledger)["me"] == said(ledger, "me")
    assert said(ledger, "me").ended
    assert Living(ledger)["me"] is None


def test_a_run_that_fails_has_ended_too(ledger: Ledger) -> None:
    with pytest.raises(KeyError), Run(ledger, 60, "me"):
        raise KeyError
    assert said(ledger, "me").ended


def test_a_run_renews_its_sign_while_it_works(ledger: Ledger, clock: Clock) -> None:
    with Run(ledger, LEASE.total_seconds(), "me"):
        for _ in range(2):
            clock.time += timedelta(minutes=1)
            wait_for(lambda: said(ledger, "me").expires == stamp(clock.time + LEASE))
    assert not [each for each in threading.enumerate() if each.name == "muster lease"]


class AtTimesAway(Storage):
    """A storage that can be away."""

    away = False
    tried = 0

    def write(self, key: str, parts: object) -> None:
        if self.away:
            self.tried += 1
            raise StorageFailed(self.root, key, "away")
        super().write(key, parts)  # type: ignore[arg-type]


def test_a_storage_that_is_away_for_a_moment_ends_no_run(tmp_path: Path, clock: Clock) -> None:
    storage = AtTimesAway(str(tmp_path / "lake"))
    ledger = Ledger(storage, clock)
    with Run(ledger, LEASE.total_seconds(), "me"):
        storage.away = True
        wait_for(lambda: storage.tried >= 2)
        clock.time += timedelta(minutes=1)
        storage.away = False
        wait_for(lambda: said(ledger, "me").expires == stamp(clock.time + LEASE))
    assert said(ledger, "me").ended


def test_a_storage_that_is_away_at_the_end_does_not_hide_how_it_ended(tmp_path: Path) -> None:
    ledger = Ledger(AtTimesAway(str(tmp_path / "lake")))
    with pytest.raises(KeyError), Run(ledger, 60, "me"):
        fail_without(ledger.storage)
    assert not said(ledger, "me").ended


def fail_without(storage: Storage) -> None:
    storage.away = True  # type: ignore[attr-defined]
    raise KeyError


def test_a_storage_that_is_away_at_the_start_starts_no_run(tmp_path: Path) -> None:
    storage = AtTimesAway(str(tmp_path / "lake"))
    storage.away = True
    with pytest.raises(StorageFailed), Run(Ledger(storage), 60, "me"):
        pytest.fail("it must not begin to work")
    assert not [each for each in threading.enumerate() if each.name == "muster lease"]


def test_who_asks_for_the_living_asks_once(ledger: Ledger, started: RunInfo, clock: Clock) -> None:
    before = Living(ledger)
    assert before["me"] == started
    assert before["nobody"] is None
    clock.time += timedelta(minutes=1)
    Run(ledger, 60, "nobody").renew()
    assert before["me"] == started
    assert before["nobody"] is None
    after = Living(ledger)
    assert after["me"] is None
    assert after["nobody"] == said(ledger, "nobody")
