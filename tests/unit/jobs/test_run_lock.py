from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.errors import RunBusy
from jobs.run_lock import exclusive

HOLD = """
import sys
from pathlib import Path
from jobs.run_lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    made = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert made.stdout is not None
    assert made.stdout.readline() == "held\n"
    return made


def test_a_folder_is_made_and_held_for_one_run_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    for _ in range(2):
        with exclusive(out):
            assert out.is_dir()


def test_a_second_run_is_told_where_the_first_one_is(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(RunBusy, match=f"{tmp_path}: expected no other run"), exclusive(tmp_path):
        pass
    holder.communicate()
    with exclusive(tmp_path):
        pass


def test_the_lock_of_a_killed_run_is_free(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.communicate()
    with exclusive(tmp_path):
        pass


def test_a_run_that_fails_lets_go(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), exclusive(tmp_path):
        raise ValueError("broken")
    with exclusive(tmp_path):
        pass
