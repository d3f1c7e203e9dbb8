from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from conf.errors import ConfigurationError, Problem
from jobs.backfill import loading
from jobs.backfill.plan import LeftUnit, Plan, PlannedUnit, Predicted, ProgramPlan, read_plan
from jobs.backfill.plan_table import LINES, print_plan
from jobs.cli import main
from jobs.sizes import size_text
from pipelines.ledger.runs import Run
from tests.properties.works import (
    FakeWork,
    breaking,
    day,
    days,
    events,
    failing,
    ledger_at,
    loader,
    make_all,
    request,
    table,
    work,
)

PRICES = {"name": "aws-us-east-1", "date": "2026-11-25"}
BASIS = "30 units of this program that were made before"


def unit(number: int, rows: int = 200_000, why: str = "never made") -> PlannedUnit:
    predicted = Predicted(
        rows=rows,
        written=rows // 10,
        bytes=rows * 30,
        puts=14,
        gets=60,
        write_units=rows // 10 * 6,
        seconds=rows / 25_000,
        usd=round(rows * 0.9e-6, 6),
    )
    return PlannedUnit(day(number), why, "f", 0, {}, (), predicted)


def part(
    *units: PlannedUnit, left: tuple[LeftUnit, ...] = (), name: str = "reviews"
) -> ProgramPlan:
    return ProgramPlan(name, name, "s", "c", {}, {}, {}, BASIS, units, left)


def printed(*parts: ProgramPlan, **said: Any) -> str:
    file = io.StringIO()
    plan = Plan(request(Path("out")), PRICES, parts, **said)
    print_plan(plan, Console(file=file, width=80))
    return file.getvalue()


def numbers(said: Predicted) -> list[str]:
    """Return what a line says of what it sums, written out independently."""
    return [
        f"{said.rows:,}",
        f"{said.written:,}",
        *size_text(said.bytes).split(),
        f"{said.puts + said.gets:,}",
        f"{said.write_units:,}",
        f"{said.seconds / 60:,.3f}",
        f"{said.usd:,.4f}",
    ]


def lines(text: str) -> dict[str, list[str]]:
    """Return the words of each line after its label: a day, a month, or how many units."""
    split = [line.split() for line in text.splitlines() if line.strip()]
    totals = {" ".join(words[:2]): words[2:] for words in split if words[1:2] == ["units"]}
    return {words[0]: words[1:] for words in split} | totals


@pytest.mark.parametrize("rows", [0, 7, 200_000, 4_000_000])
@pytest.mark.parametrize("count", [2, 31, LINES])
def test_a_line_a_unit_and_no_number_is_cut_off(count: int, rows: int) -> None:
    of = part(*(unit(n, rows) for n in range(count)))
    text = printed(of)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    found = lines(text)
    for each in of.units:
        assert found[each.day] == numbers(each.predicted)
    assert found[f"{count} units"] == numbers(of.predicted)


@pytest.mark.parametrize("rows", [200_000, 2_000_000])
def test_many_units_are_summed_by_month(rows: int) -> None:
    of = part(*(unit(n, rows) for n in reversed(range(365))))
    text = printed(of)
    assert "…" not in text
    found = lines(text)
    assert [label for label in found if label[:2] == "20"] == [
        *("2018-02", "2018-01"),
        *(f"2017-{month:02}" for month in range(12, 2, -1)),
    ]
    assert found["2018-02"][:2] == [f"{28 * rows:,}", f"{28 * rows // 10:,}"]
    assert found["365 units"] == numbers(of.predicted)


def test_numbers_that_do_not_fit_are_folded_and_not_cut_off() -> None:
    text = printed(part(*(unit(n, 900_000_000) for n in range(400))))
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_one_reason_stands_in_the_title() -> None:
    text = printed(part(unit(0), unit(1)))
    assert text.startswith("reviews: 2 units to make: never made")
    assert text.count("never made") == 1
    assert printed(part(unit(0))).startswith("reviews: 1 unit to make: never made")


def test_several_reasons_are_told_with_their_days_the_commonest_first() -> None:
    whys = {1: "late data", 0: "never made", 2: "never made", 5: "never made"}
    text = printed(part(*(unit(n, why=why) for n, why in whys.items())))
    assert text.startswith("reviews: 4 units to make ")
    told = [line.rstrip() for line in text.splitlines() if line.startswith("  ")]
    assert [line for line in told if "unit" in line] == [
        "  3 units (2017-03-01 to 2017-03-06): never made",
        "  1 unit (2017-03-02): late data",
    ]


def test_of_many_reasons_only_some_are_told() -> None:
    text = printed(part(*(unit(n, why=f"late data: {n}") for n in range(25))))
    assert text.count("late data") == 10
    assert "  and 15 more reasons; -o writes all" in text


@pytest.mark.parametrize("why", ["failed: no file [/data/x]", "failed: expected [bold]"])
def test_brackets_in_a_reason_are_no_markup(why: str) -> None:
    assert why in printed(part(unit(0, why=why)))
    assert why in printed(part(unit(0, why=why), unit(1)))
    assert why in printed(part(left=(LeftUnit(day(0), "failed", why),)))
    assert why in printed(refused={"polls": why})


@pytest.mark.parametrize(
    ("state", "hint"),
    [
        ("done", ""),
        ("disabled", ""),
        ("stale", "; --reprocess stale makes them anew"),
        ("failed", "; --reprocess failed tries them again"),
        ("missing", "; --reprocess missing makes them"),
    ],
)
def test_units_that_are_left_are_summed_by_state(state: Any, hint: str) -> None:
    rest = tuple(LeftUnit(day(n), state, why) for n, why in enumerate("bcaa"))
    text = " ".join(printed(part(left=rest)).split())
    told = f"reviews: 4 units left (2017-03-01 to 2017-03-04): a (and 2 more){hint}"
    assert told in text
    assert "to make" not in text


def test_programs_that_were_refused_are_told() -> None:
    text = printed(part(unit(0)), refused={"polls": "no such table"})
    assert "polls: not planned: no such table" in text


def test_the_last_line_says_what_the_numbers_are_from() -> None:
    other = replace(part(unit(0), name="polls"), basis="estimates")
    text = " ".join(printed(part(unit(0)), other).split())
    assert f"predicted from {BASIS}; predicted from estimates; " in text
    assert "prices of aws-us-east-1, 2026-11-25; plan " in text


# The commands

Muster = Callable[..., Result]


@pytest.fixture
def reviews(tmp_path: Path) -> FakeWork:
    return work(tmp_path / "out")


@pytest.fixture
def polls(tmp_path: Path) -> FakeWork:
    return work(tmp_path / "out", "polls")


@pytest.fixture
def refusals() -> dict[str, Exception]:
    return {}


@pytest.fixture
def muster(
    tmp_path: Path,
    reviews: FakeWork,
    polls: FakeWork,
    refusals: dict[str, Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> Muster:
    """Return what runs a command, of which the three days of ``reviews`` are the least."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "loader", lambda _: loader([reviews, polls], refusals))
    asked = ("--program", "reviews", "--from", day(0), "--to", day(2), "--out", "out")

    def run(command: str, *more: str) -> Result:
        words = [command, *more] if command == "apply" else [command, "solicit", *asked, *more]
        result = CliRunner().invoke(main, words)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return run


def test_a_plan_is_shown_and_nothing_is_written(muster: Muster, tmp_path: Path) -> None:
    result = muster("plan")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "reviews: 3 units to make: never made" in result.output
    assert "…" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_plan_is_written_and_applied(muster: Muster, tmp_path: Path) -> None:
    written = muster("plan", "-o", "plan.json")
    assert "written to plan.json; run it with: muster apply plan.json" in written.output
    assert muster("plan", "--json").output == (tmp_path / "plan.json").read_text()
    assert len([*read_plan(tmp_path / "plan.json").units]) == 3
    assert muster("apply", "plan.json").exit_code == 0
    assert {each[-1] for each in events(tmp_path / "out").values()} == {"succeeded"}


def test_a_run_that_went_well_exits_0_and_so_does_the_next(
    muster: Muster, reviews: FakeWork
) -> None:
    result = muster("run")
    assert result.exit_code == 0
    (report,) = [line for line in result.output.splitlines() if line.startswith("report  ")]
    assert Path(report.removeprefix("report  ")).is_file()
    again = muster("run", "--json")
    assert again.exit_code == 0
    said = json.loads(again.stdout)
    assert [unit["partition"] for unit in said["units"]] == [*days(3)]
    assert reviews.waves == [days(3)]


def test_units_that_fail_exit_1(muster: Muster, reviews: FakeWork) -> None:
    reviews.make = failing(day(1))
    result = muster("run", "--json")
    assert result.exit_code == 1
    failed = [unit for unit in json.loads(result.stdout)["units"] if "error" in unit]
    assert [(unit["partition"], unit["error"]) for unit in failed] == [(day(1), "out of reach")]
    assert muster("run", "--reprocess", "failed").exit_code == 1
    reviews.make = make_all
    assert muster("run", "--reprocess", "failed").exit_code == 0


def test_a_program_that_is_refused_beside_others_exits_1(
    muster: Muster, refusals: dict[str, Exception]
) -> None:
    refusals["polls"] = ConfigurationError([Problem("polls.yaml", "enabled", "a boolean", "3")])
    for command in ("plan", "run"):
        result = muster(command, "--program", "polls", "--json")
        assert result.exit_code == 1
    assert "muster: polls: polls.yaml: enabled: expected a boolean" in result.stderr


def test_programs_together_have_a_document_each(muster: Muster) -> None:
    said = json.loads(muster("run", "--program", "polls", "--json").stdout)
    assert [len(run["units"]) for run in said["runs"]] == [3, 3]


def test_a_plan_that_moved_exits_1_and_says_what_moved(
    muster: Muster, reviews: FakeWork, tmp_path: Path
) -> None:
    muster("plan", "-o", "plan.json")
    reviews.reads |= table("reviews", {day(1): 11}, "b")
    refused = muster("apply", "plan.json")
    assert refused.exit_code == 1
    assert "reviews: input reviews/2017-03-02: expected 10 rows" in refused.stderr
    assert not (tmp_path / "out").exists()
    accepted = muster("apply", "plan.json", "--accept-moved")
    assert accepted.exit_code == 0
    assert "reviews: input reviews/2017-03-02: expected 10 rows" in accepted.stderr
    assert "reviews: 3 units to make" in accepted.output


def test_a_plan_over_the_budget_exits_1(muster: Muster, tmp_path: Path) -> None:
    result = muster("run", "--prices", "aws-us-east-1", "--budget-usd", "0")
    assert result.exit_code == 1
    assert "muster: budget: expected at most" in result.stderr
    assert not (tmp_path / "out/lake").exists()


@pytest.mark.parametrize("content", [None, "no plan"])
def test_what_is_no_plan_exits_2(muster: Muster, tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "plan.json").write_text(content)
    result = muster("apply", "plan.json")
    assert result.exit_code == 2
    assert "plan.json: expected a plan as 'muster plan -o' writes it" in result.stderr


def test_a_program_that_is_wrong_exits_2(muster: Muster, refusals: dict[str, Exception]) -> None:
    refusals["reviews"] = ConfigurationError([Problem("a.yaml", "enabled", "a boolean", "3")])
    for command in ("plan", "run"):
        result = muster(command)
        assert result.exit_code == 2
        assert "a.yaml: enabled: expected a boolean" in result.stderr


def test_units_that_another_run_holds_exit_3(muster: Muster, tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path / "out")
    with Run(ledger, 60.0, "busy"):
        name = f"solicit/reviews/{day(1)}"
        ledger.append(None, "planned", unit=name, run="busy", fingerprint="f", plan="p")
        result = muster("run")
    assert result.exit_code == 3
    assert f"muster: unit {name}: expected nobody at work on it, found run busy" in result.stderr


def test_units_that_another_run_took_over_exit_3(
    muster: Muster, reviews: FakeWork, tmp_path: Path
) -> None:
    def make(wave: Any, publisher: Any) -> None:
        lease = wave.leases[day(1)]
        ledger_at(tmp_path / "out").append(
            lease, "planned", unit=lease.unit, run="other", fingerprint="f", plan="p"
        )
        failing()(type(wave)({day(0): wave.leases[day(0)]}, wave.promises), publisher)

    reviews.make = make
    result = muster("run", "--to", day(1))
    assert result.exit_code == 3
    assert f"muster: unit solicit/reviews/{day(1)}: run other took it over" in result.stderr


def test_an_interrupted_run_exits_130(muster: Muster, reviews: FakeWork, tmp_path: Path) -> None:
    reviews.make = breaking(day(0), KeyboardInterrupt())
    result = muster("run")
    assert result.exit_code == 130
    assert "muster: stopped: 0 of 3 units done" in result.stderr
    assert {each[-1] for each in events(tmp_path / "out").values()} == {"cancelled"}
