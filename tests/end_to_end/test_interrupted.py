"""Runs that are killed, and runs that meet."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
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
        "lake/units/**/*.json",
    ],
)
def test_a_killed_run_is_finished_by_running_it_again(
    moment: str,
    undisturbed: Path,
    shared_muster: Any,
    tree: Callable[[Path], dict[str, str]],
    items: Callable[[Path], list[dict[str, Any]]],
) -> None:
    out = f"killed-at-{moment.split('/')[-3] if 'units' not in moment else 'units'}"
    folder = shared_muster.folder / out
    running = _start(shared_muster, *WEEK, "--out", out)
    _kill_when(running, lambda: any(folder.glob(moment)))
    assert tree(folder / "lake") != tree(undisturbed / "lake")
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


def test_a_second_run_at_once_is_told_to_wait(muster: Any) -> None:
    """Also by a run that was killed: its lock goes with it."""
    year = (*WEEK[:4], "--from", "2017-01-01", "--to", "2017-12-31", "--out", "out")
    running = _start(muster, *year)
    lake = muster.folder / "out" / "lake" / "_lake.json"
    _wait_for(running, lake.is_file)
    told = muster(*WEEK, "--out", "out", code=1)
    assert "expected no other run, found one at work" in told.stderr
    assert "Traceback" not in told.stderr
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    muster(*WEEK[:6], "--out", "out")
