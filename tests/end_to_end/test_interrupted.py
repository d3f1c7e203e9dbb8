"""Runs that are killed, and runs that meet."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

WEEK = (
    *("run", "solicit", "--program", "product-reviews"),
    *("--from", "2017-03-01", "--to", "2017-03-07"),
)


@pytest.fixture(scope="module")
def undisturbed(shared_muster: Any) -> Path:
    shared_muster(*WEEK, "--out", "undisturbed")
    return shared_muster.folder / "undisturbed"


def _start(muster: Any, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        muster.arguments(*arguments),
        cwd=muster.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _wait_for(running: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    """Wait until ``ready``, which must be before the run ends by itself."""
    deadline = time.monotonic() + 60
    while not ready():
        assert running.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)


def _kill_when(running: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    """Kill -9 as soon as ``ready``."""
    _wait_for(running, ready)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()


@pytest.mark.parametrize(
    "moment",
    [
        "lake/fragments/rejection/**/*.avro",
        "lake/fragments/candidate/**/*.avro",
        "lake/_ledger/units/**/000004.json",
    ],
)
def test_a_killed_run_is_finished_by_running_it_again(
    moment: str,
    undisturbed: Path,
    shared_muster: Any,
    tree: Callable[[Path], dict[str, str]],
    items: Callable[[Path], list[dict[str, Any]]],
) -> None:
    out = f"killed-at-{moment.split('/')[2]}"
    folder = shared_muster.folder / out
    running = _start(shared_muster, *WEEK, "--out", out)
    _kill_when(running, lambda: any(folder.glob(moment)))
    shared_muster(*WEEK, "--out", out)
    assert tree(folder / "lake") == tree(undisturbed / "lake")
    assert items(folder / "candidates.sqlite") == items(undisturbed / "candidates.sqlite")


def test_strays_of_a_killed_run_are_removed(
    undisturbed: Path, shared_muster: Any, tree: Callable[[Path], dict[str, str]]
) -> None:
    """A fragment no attempt names, and a file that was half written when the power went."""
    folder = shared_muster.folder / "strays" / "lake"
    stray = folder / "fragments/candidate/product-reviews/2017-03-03"
    stray.mkdir(parents=True)
    (stray / "00000-000-0123456789abcdef.avro").write_bytes(b"from another attempt")
    (stray / "00000-000-fedcba9876543210.avro#1").write_bytes(b"half")
    shared_muster(*WEEK, "--out", "strays")
    assert tree(folder) == tree(undisturbed / "lake")


YEAR = (*WEEK[:4], "--from", "2017-01-01", "--to", "2017-12-31", "--out", "out")


@pytest.fixture
def at_work(muster: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A run over a year that has published something by now."""
    running = _start(muster, *YEAR)
    published = muster.folder / "out/lake/_ledger/units/solicit/product-reviews"
    _wait_for(running, lambda: any(published.glob("*/000003.json")))
    yield running
    if running.poll() is None:
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def test_a_second_run_of_the_same_days_is_told_who_holds_them(
    muster: Any, at_work: subprocess.Popen[bytes]
) -> None:
    """Also by a run that was killed: what it held is free, since its process is gone."""
    told = muster(*WEEK, "--out", "out", code=3)
    assert "expected nobody at work on it, found run" in told.stderr
    assert f"process {at_work.pid} on" in told.stderr
    assert "Traceback" not in told.stderr
    os.killpg(at_work.pid, signal.SIGKILL)
    at_work.wait()
    muster(*WEEK[:6], "--out", "out")


def test_a_second_run_may_wait_for_the_first(
    muster: Any, tree: Callable[[Path], dict[str, str]], undisturbed: Path
) -> None:
    first = _start(muster, *WEEK, "--out", "out")
    ledger = muster.folder / "out/lake/_ledger/units/solicit/product-reviews"
    _wait_for(first, lambda: len(list(ledger.glob("*/000002.json"))) == 7)
    muster(*WEEK, "--out", "out", "--wait")
    assert first.wait(60) == 0
    assert tree(muster.folder / "out" / "lake") == tree(undisturbed / "lake")
    # Nothing was done twice: four records a unit.
    assert len(list(ledger.glob("*/*.json"))) == 7 * 4


def test_two_runs_of_other_days_share_lake_and_store(
    muster: Any,
    tree: Callable[[Path], dict[str, str]],
    items: Callable[[Path], list[dict[str, Any]]],
    undisturbed: Path,
) -> None:
    early = (*WEEK[:4], "--from", "2017-03-01", "--to", "2017-03-04", "--out", "out")
    late = (*WEEK[:4], "--from", "2017-03-05", "--to", "2017-03-07", "--out", "out")
    runs = [_start(muster, *each) for each in (early, late)]
    assert [run.wait(120) for run in runs] == [0, 0]
    folder = muster.folder / "out"
    assert tree(folder / "lake") == tree(undisturbed / "lake")
    assert items(folder / "candidates.sqlite") == items(undisturbed / "candidates.sqlite")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_nothing_stuck(
    muster: Any, at_work: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    at_work.send_signal(number)
    assert at_work.wait(30) == 130
    told = muster.document("status", "--out", "out")["programs"][0]["counts"]
    assert set(told) <= {"cancelled", "done"}
    assert told["cancelled"] > 200
    assert sum(told.values()) == 365
    muster(*WEEK, "--out", "out")
