from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
from rich.console import Console

from jobs.progress import LOGGER, Progress

BALANCE = {
    "read": 4123,
    "written": 310,
    "deduplicated": 41,
    "quarantined": 0,
    "rejected": {"A": 3000, "B": 772},
}
LINE = "read 4,123  written 310  deduplicated 41  quarantined 0  rejected 3,772"


def batch(unit: str, rows: int, pass_: int = 1) -> None:
    LOGGER.info("batch", extra={"rows": rows, "unit": unit, "pass_": pass_})


def done(unit: str, status: str = "published", error: str | None = None) -> None:
    extra = {"unit": unit, "status": status, "balance": BALANCE, "error": error}
    LOGGER.info("unit", extra=extra)


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    before = (LOGGER.level, list(LOGGER.handlers))
    yield
    assert before == (LOGGER.level, LOGGER.handlers)


def plain(width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=width)


def output(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def last_bar(console: Console) -> str:
    return [line for line in output(console).splitlines() if "units" in line][-1]


def test_without_a_terminal_each_unit_is_one_line_however_narrow() -> None:
    console = plain(width=20)
    with Progress(3, console):
        batch("2017-03-05", 4123)
        done("2017-03-05")
        done("2017-03-06", "unchanged")
        done("2017-03-07", "failed", "[bold]no such table")
        LOGGER.info("something else")
    assert output(console).splitlines() == [
        f"2017-03-05  {LINE}",
        f"2017-03-06  {LINE}  unchanged",
        "2017-03-07  failed  [bold]no such table",
    ]


def test_nothing_is_shown_outside_the_block() -> None:
    console = plain()
    with Progress(1, console):
        pass
    done("2017-03-05")
    assert output(console) == ""


def test_the_block_ends_when_work_fails() -> None:
    with pytest.raises(KeyError), Progress(1, plain()):
        raise KeyError("unit")


def test_a_level_set_by_the_application_is_restored() -> None:
    console = plain()
    LOGGER.setLevel(logging.ERROR)
    try:
        with Progress(1, console):
            done("2017-03-05")
        assert LOGGER.level == logging.ERROR
    finally:
        LOGGER.setLevel(logging.NOTSET)
    assert LINE in output(console)


def test_a_terminal_shows_units_rows_of_the_pass_and_failures() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    with Progress(4, console):
        batch("2017-03-05", 1000)
        batch("2017-03-06", 500)
        batch("2017-03-05", 1000, pass_=2)
        batch("2017-03-05", 234, pass_=2)
        done("2017-03-05")
        done("2017-03-06", "failed", "no such table")
    shown = output(console)
    last = last_bar(console)
    assert "2/4 units" in last
    assert "1 failed" in last
    assert "pass 2: 1,234 rows" in last
    assert " 50%" in last
    assert "2017-03-06  failed  no such table" in shown


def test_a_unit_in_work_counts_in_part_and_never_backwards() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    with Progress(1, console):
        batch("2017-03-05", 1, pass_=2)
        batch("2017-03-05", 1, pass_=1)
    last = last_bar(console)
    assert " 90%" in last
    assert "0/1 units" in last


def test_standard_output_stays_one_document() -> None:
    script = (
        "import json, logging\n"
        "from jobs.progress import Progress\n"
        "with Progress(1):\n"
        "    logging.getLogger('muster.progress').info('unit', extra={'unit': 'u',"
        " 'status': 'published', 'balance': {'read': 1}})\n"
        "print(json.dumps({'run_id': 'r'}))\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == {"run_id": "r"}
    assert ran.stderr.startswith("u  read 1  ")
