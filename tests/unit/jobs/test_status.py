from __future__ import annotations

import io
import json
import time
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from jobs.cli import main
from jobs.status import UnitStatus, _print_needs, document, statuses
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Event, Record, follow
from pipelines.ledger.runs import Living, Run
from tests.properties.works import day, days, failing, ledger_at, made, new_folder, work

MADE: Sequence[Event] = ("planned", "leased", "published", "succeeded")
BALANCE = {"read": 1, "written": 0, "deduplicated": 0, "quarantined": 1, "rejected": []}


def records(unit: str, events: Iterable[Event], run: str = "gone", **details: Any) -> list[Record]:
    """Return the records of a unit; the last of them says ``details``."""
    found: list[Record] = []
    for event in events:
        last = found[-1] if found else None
        at = f"2017-04-01T00:00:{len(found):02}.000Z"
        found.append(
            follow(
                last, event, unit=unit, run=run, at=at, fingerprint="f", plan="p", details=details
            )
        )
    return found


def write(out: Path, found: Iterable[Record]) -> None:
    """Put records where the ledger has them; for thousands of them a put each is too slow."""
    for record in found:
        path = out / "lake" / Ledger.key(record.unit, record.seq)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(record.to_json())


def name(number: int, program: str = "reviews") -> str:
    return f"solicit/{program}/{day(number)}"


def found(out: Path, *units: list[Record]) -> tuple[UnitStatus, ...]:
    return statuses((history[-1] for history in units), Living(ledger_at(out)))


def status(out: Path, *more: str) -> Result:
    result = CliRunner().invoke(main, ["status", "--out", str(out), *more])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.mark.parametrize(
    ("events", "run", "mark", "output"),
    [
        (["planned"], "busy", "planned", False),
        (["planned", "leased"], "busy", "running", False),
        (["planned", "leased", "published"], "busy", "running", False),
        (MADE, "busy", "done", True),
        ([*MADE, "planned"], "busy", "planned", True),
        (["planned"], "gone", "abandoned", False),
        (["planned", "leased", "published"], "gone", "abandoned", False),
        (MADE, "gone", "done", True),
        ([*MADE, "planned", "leased"], "gone", "abandoned", True),
        (["planned", "leased", "failed"], "gone", "failed", False),
        ([*MADE, "planned", "leased", "failed"], "gone", "failed", True),
        (["planned", "cancelled"], "gone", "cancelled", False),
        (["planned", "leased", "published", "cancelled"], "gone", "cancelled", False),
        ([*MADE, "planned", "cancelled"], "gone", "done", True),
    ],
)
def test_a_unit_is_marked_by_its_latest_record_and_whether_its_run_lives(
    tmp_path: Path, events: Sequence[Event], run: str, mark: str, output: bool
) -> None:
    with Run(ledger_at(tmp_path), 60.0, "busy"):
        (unit,) = found(tmp_path, records(name(0), events, run))
    assert (unit.job, unit.program, unit.day) == ("solicit", "reviews", day(0))
    assert (unit.mark, unit.output) == (mark, output)


@pytest.mark.parametrize(
    ("events", "error"),
    [
        (["planned", "leased", "failed"], "no table"),
        (["planned", "cancelled"], None),
        (MADE, None),
        (["planned", "leased"], "left by run gone, which is gone; run it again"),
        (
            ["planned", "leased", "published"],
            "published, not completed by run gone, which is gone; run it again",
        ),
    ],
)
def test_only_what_needs_a_person_has_an_error(
    tmp_path: Path, events: Sequence[Event], error: str | None
) -> None:
    (unit,) = found(tmp_path, records(name(0), events, error="no table"))
    assert unit.error == error


FAILED: Sequence[Event] = ("planned", "leased", "failed")


def needs(out: Path, *units: list[Record]) -> list[str]:
    file = io.StringIO()
    _print_needs(Console(file=file, width=80), found(out, *units), "--out here")
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_where_all_is_well_nobody_is_needed(tmp_path: Path) -> None:
    assert needs(tmp_path, records(name(0), MADE)) == ["nothing needs a person"]


def test_what_needs_a_person_is_grouped_by_reason(tmp_path: Path) -> None:
    units = [
        *(records(name(n), FAILED, error="no table") for n in (0, 2, 4)),
        records(name(1), FAILED, error="no column [a]"),
        records(name(3), MADE),
    ]
    assert needs(tmp_path, *units) == [
        "4 need a person:",
        "  2017-03-01 to 2017-03-05 (3 units)  failed  no table",
        "  2017-03-02  failed  no column [a]",
        "once mended: muster run solicit --program <the YAML of reviews> --from 2017-03-01 "
        "--to 2017-03-05 --out here --reprocess failed",
    ]


def test_the_span_of_a_reason_goes_over_all_programs(tmp_path: Path) -> None:
    units = [
        records(name(n, program), FAILED, error="no table")
        for program, numbers in (("polls", (4, 5)), ("reviews", (0, 1)))
        for n in numbers
    ]
    told = needs(tmp_path, *units)
    assert told[:2] == [
        "4 need a person:",
        "  2017-03-01 to 2017-03-06 (4 units)  failed  no table",
    ]
    assert [line.split()[9:13] for line in told[2:]] == [
        ["polls>", "--from", day(4), "--to"],
        ["reviews>", "--from", day(0), "--to"],
    ]


def test_of_many_reasons_only_some_are_told(tmp_path: Path) -> None:
    told = needs(tmp_path, *(records(name(n), FAILED, error=f"no {n}") for n in range(25)))
    assert len([line for line in told if "failed  no " in line]) == 20
    assert "  and 5 more reasons (--json lists all units)" in told


def test_a_unit_says_all_that_is_known_of_it(tmp_path: Path) -> None:
    units = found(
        tmp_path,
        records(name(0), MADE, balance=BALANCE),
        records(name(1), FAILED, error="no table"),
        records(name(0, "polls"), ["planned", "cancelled"]),
    )
    same = {"run": "gone", "fingerprint": "f"}
    assert document(units) == {
        "programs": [
            {
                "job": "solicit",
                "program": "polls",
                "counts": {"cancelled": 1},
                "needPerson": [],
                "units": [
                    {
                        "unit": day(0),
                        "state": "cancelled",
                        "output": False,
                        "event": "cancelled",
                        "attempt": 0,
                        "at": "2017-04-01T00:00:01.000Z",
                        **same,
                    }
                ],
            },
            {
                "job": "solicit",
                "program": "reviews",
                "counts": {"done": 1, "failed": 1},
                "needPerson": [day(1)],
                "units": [
                    {
                        "unit": day(0),
                        "state": "done",
                        "output": True,
                        "event": "succeeded",
                        "attempt": 1,
                        "at": "2017-04-01T00:00:03.000Z",
                        **same,
                        "balance": BALANCE,
                    },
                    {
                        "unit": day(1),
                        "state": "failed",
                        "output": False,
                        "event": "failed",
                        "attempt": 1,
                        "at": "2017-04-01T00:00:02.000Z",
                        **same,
                        "error": "no table",
                    },
                ],
            },
        ]
    }


# The command


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A lake of two programs; a day of ``polls`` has failed."""
    reviews, polls = work(tmp_path / "out"), work(tmp_path / "out", "polls", make=failing(day(1)))
    made(reviews, polls)
    return tmp_path / "out"


def test_all_programs_are_shown_and_exit_0(out: Path) -> None:
    result = status(out)
    assert (result.exit_code, result.stderr) == (0, "")
    assert [line for line in result.output.splitlines() if line.startswith("solicit ")] == [
        "solicit polls",
        "solicit reviews",
    ]
    assert "1 need a person:" in result.output
    assert "  2017-03-02  failed  out of reach" in result.output
    assert "…" not in result.output
    assert "2/3" in result.output
    assert "3/3" in result.output


def units_of(result: Result) -> dict[str, list[str]]:
    said = json.loads(result.stdout)["programs"]
    return {each["program"]: [unit["unit"] for unit in each["units"]] for each in said}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([], {"polls": [*days(3)], "reviews": [*days(3)]}),
        (["solicit"], {"polls": [*days(3)], "reviews": [*days(3)]}),
        (["other"], {}),
        (["--program", "reviews"], {"reviews": [*days(3)]}),
        (["--program", "none"], {}),
        (["solicit", "--from", day(1)], {"polls": [*days(3)[1:]], "reviews": [*days(3)[1:]]}),
        (["--program", "polls", "--to", day(1)], {"polls": [*days(2)]}),
        (["--program", "polls", "--from", day(1), "--to", day(1)], {"polls": [day(1)]}),
        (["--from", day(9)], {}),
    ],
)
def test_job_program_and_days_may_be_chosen(
    out: Path, asked: list[str], expected: dict[str, list[str]]
) -> None:
    result = status(out, *asked, "--json")
    assert result.exit_code == 0
    assert units_of(result) == expected


def test_days_that_were_asked_for_and_not_made_are_shown(out: Path) -> None:
    result = status(out, "--program", "reviews", "--from", "2017-02-27", "--to", "2017-03-04")
    assert "2017-02" in result.output
    assert "0/2" in result.output
    assert "3/4" in result.output


def test_nothing_found_exits_1_and_makes_nothing(tmp_path: Path) -> None:
    result = status(tmp_path / "none", "solicit", "--program", "reviews")
    assert result.exit_code == 1
    told = "expected units of solicit/reviews in the ledger, found none"
    assert told in result.stderr
    assert json.loads(status(tmp_path / "none", "--json").stdout) == {"programs": []}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "told"), [(["--env", "moon"], "'moon'"), (["--from", "today"], "2017-03-01")]
)
def test_wrong_use_exits_2(out: Path, asked: list[str], told: str) -> None:
    result = status(out, *asked)
    assert result.exit_code == 2
    assert told in result.output


def test_status_changes_nothing(out: Path) -> None:
    def everything() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    before = everything()
    status(out)
    assert everything() == before


PROGRAMS = [f"program-{n}" for n in range(5)]


def timed(folder: Path) -> tuple[float, Result]:
    started = time.perf_counter()
    result = status(folder)
    return time.perf_counter() - started, result


def test_ten_thousand_records_take_less_than_two_seconds() -> None:
    first = date(2016, 1, 1)
    units = [
        f"solicit/{program}/{first + timedelta(days=n)}" for program in PROGRAMS for n in range(500)
    ]
    with new_folder() as folder:
        write(folder, (record for unit in units for record in records(unit, MADE, balance=BALANCE)))
        # The best of three: others work on this machine too.
        seconds, result = min((timed(folder) for _ in range(3)), key=lambda each: each[0])
    assert result.output.count("solicit program-") == len(PROGRAMS)
    assert "nothing needs a person" in result.output
    assert seconds < 2.0, f"took {seconds:.2f} s"
