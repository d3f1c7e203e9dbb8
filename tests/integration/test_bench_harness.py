"""The harness refuses contenders that fail or disagree, and judges goals as they are written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _benchmarks_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.avro").write_bytes(b"a")
    return tmp_path / "in"


def line(rows: int, seconds: float = 1.0) -> dict[str, float]:
    return {"rows_out": rows, "checksum": 1, "seconds": seconds}


def test_a_failed_contender_is_named(source: Path, tmp_path: Path) -> None:
    from benchmarks.harness import Contender, ContenderError, run_once

    with pytest.raises(ContenderError, match=r"nobody: expected exit code 0 .* found exit code 1"):
        run_once(Contender("nobody", "benchmarks.peers.nobody"), source, tmp_path)


def test_a_contender_without_a_line_is_refused(source: Path, tmp_path: Path) -> None:
    from benchmarks.harness import Contender, ContenderError, run_once

    with pytest.raises(ContenderError, match=r"silent: expected .* found exit code 0"):
        run_once(Contender("silent", "benchmarks.peers.work"), source, tmp_path)


def test_a_contender_that_writes_nothing_is_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import harness

    monkeypatch.setattr(harness, "REPOSITORY", tmp_path)
    (tmp_path / "idle.py").write_text("print('{\"rows_out\": 0}')")
    with pytest.raises(harness.ContenderError, match="idle: expected rows, found none"):
        harness.run_once(harness.Contender("idle", "idle"), source, tmp_path)


def test_contenders_that_write_other_rows_are_refused() -> None:
    from benchmarks.harness import DisagreementError, agree

    agree({"a": [line(2), line(2)], "b": [line(2)]})
    with pytest.raises(DisagreementError, match=r"'a': \[\(2, 1\)\], 'b': \[\(3, 1\)\]"):
        agree({"a": [line(2)], "b": [line(3)]})


def test_rounds_alternate(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import harness

    monkeypatch.setattr(harness, "run_once", lambda contender, _source, _scratch: line(1))
    ran: list[str] = []
    harness.interleaved(
        [harness.Contender("a", "a"), harness.Contender("b", "b")],
        source,
        2,
        tmp_path,
        lambda name, _line: ran.append(name),
    )
    assert ran == ["a", "b", "a", "b"]


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    from benchmarks.harness import ratio

    slow = [line(1, 10.0), line(1, 30.0), line(1, 100.0)]
    quick = [line(1, 1.0), line(1, 10.0), line(1, 50.0)]
    assert ratio(slow, quick, "seconds") == 3.0


@pytest.mark.parametrize(
    ("sign", "bound", "ratio", "met"),
    [(">=", 1.5, 1.5, True), (">=", 1.5, 1.4999, False), ("<=", 1.2, 1.2001, False)],
)
def test_goals_bound_the_unrounded_ratio(sign: str, bound: float, ratio: float, met: bool) -> None:
    from benchmarks.harness import Goal, result

    row = result("x", 1.0, "s", peer="y", ratio=ratio, goal=Goal(sign, bound))
    assert (row.goal, row.met) == (f"{sign} {bound}", met)


def test_without_a_ratio_the_goal_bounds_the_value() -> None:
    from benchmarks.harness import Goal, result

    assert result("x", 1536.1, "MB", goal=Goal("<=", 1536)).met is False
    assert result("x", 1536.0, "MB", goal=Goal("<=", 1536)).met is True


def test_results_are_saved_as_a_list(tmp_path: Path) -> None:
    from benchmarks.harness import Goal, result, save

    save([result("x", 2.0, "s", peer="y", ratio=2.0, goal=Goal(">=", 1.5))], tmp_path / "r" / "x")
    assert json.loads((tmp_path / "r" / "x").read_text()) == [
        {
            "name": "x",
            "value": 2.0,
            "unit": "s",
            "peer": "y",
            "ratio": 2.0,
            "goal": ">= 1.5",
            "met": True,
        }
    ]


def test_the_command_starts_the_module_that_was_named() -> None:
    from benchmarks.harness import Contender

    command = Contender("m", "benchmarks.muster_run", ("codec",)).command(Path("in"), Path("out"))
    assert command == [sys.executable, "-m", "benchmarks.muster_run", "codec", "in", "out"]
