"""The peers of the benchmarks do the same work, and do it right."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.integration]

REPOSITORY = Path(__file__).parents[2]
ROWS = 20_000
SERVED = {"US", "GB", "DE", "FR", "JP", "CA", "ES"}
Row = dict[str, Any]


def run(module: str, *arguments: object) -> str:
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def read(folder: Path) -> list[Row]:
    """Return all rows in the order of the files' names."""
    rows: list[Row] = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name[0] not in "._"):
        with path.open("rb") as file:
            rows += [dict(row) for row in fastavro.reader(file) if isinstance(row, dict)]
    return rows


def generated(root: Path, *arguments: object) -> Path:
    return Path(run("generate", "--root", root, *arguments))


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generated(tmp_path_factory.mktemp("data"), "--rows", ROWS)


def peer(name: str, events: Path, out: Path) -> dict[str, float]:
    line: dict[str, float] = json.loads(run(f"peers.{name}", events, out))
    return line


def passes(row: Row) -> bool:
    return (
        1 <= row["quantity"] <= 50
        and row["orderValue"] >= 1.0
        and row["optIn"]
        and row["country"] in SERVED
    )


def banded(row: Row) -> Row:
    score = row["score"]
    return row | {"band": "low" if score < 0.5 else "mid" if score < 0.8 else "high"}


def first_in_window(rows: list[Row]) -> list[Row]:
    """Compare each row with the one of its pair just before it in time, file and row."""
    latest: dict[tuple[str, str], Any] = {}
    kept = []
    for row in sorted(rows, key=lambda row: row["eventDate"]):
        pair = row["customerId"], row["subjectId"]
        if pair not in latest or row["eventDate"] - latest[pair] > timedelta(days=14):
            kept.append(row)
        latest[pair] = row["eventDate"]
    return kept


def best_three(rows: list[Row]) -> list[Row]:
    days = defaultdict(list)
    for row in rows:
        days[row["customerId"], row["eventDate"].date()].append(row)
    return [
        row
        for of_one in days.values()
        for row in sorted(of_one, key=lambda row: (-row["score"], row["subjectId"]))[:3]
    ]


def in_order(rows: list[Row]) -> list[str]:
    return sorted(json.dumps(row, default=str, sort_keys=True) for row in rows)


@pytest.mark.parametrize("name", ["polars_script", "beam_dicts", "spark_sql"])
def test_filters_and_bands_the_same_rows(name: str, events: Path, tmp_path: Path) -> None:
    line = peer(name, events, tmp_path / "out")
    expected = [banded(row) for row in read(events) if passes(row)]
    assert 0.8 * ROWS < len(expected) < 0.95 * ROWS
    assert (line["rows_in"], line["rows_out"]) == (ROWS, len(expected))
    assert in_order(read(tmp_path / "out")) == in_order(expected)


def test_peers_have_one_checksum(events: Path, tmp_path: Path) -> None:
    sums = {
        peer(name, events, tmp_path / name)["checksum"] for name in ("polars_script", "beam_dicts")
    }
    others = peer("polars_dedupe", events, tmp_path / "dedupe")["checksum"]
    assert len(sums) == 1
    assert others not in sums


@pytest.mark.parametrize("days", [8, 20])
def test_dedupes_and_caps_as_rows_would_one_by_one(days: int, tmp_path: Path) -> None:
    """Twenty days are more than the window, so some repeats come back."""
    events = generated(tmp_path, "--rows", ROWS, "--days", days)
    line = peer("polars_dedupe", events, tmp_path / "out")
    passed = [banded(row) for row in read(events) if passes(row)]
    unique = first_in_window(passed)
    expected = best_three(unique)
    assert len(passed) > len(unique) > len(expected) == line["rows_out"]
    pairs = {(row["customerId"], row["subjectId"]) for row in passed}
    assert (len(unique) > len(pairs)) == (days > 14)
    assert in_order(read(tmp_path / "out")) == in_order(expected)


def test_codec_gives_back_what_it_read(events: Path, tmp_path: Path) -> None:
    line = peer("fastavro_codec", events, tmp_path / "out")
    assert line["rows_in"] == line["rows_out"] == ROWS
    assert line["decode_seconds"] + line["encode_seconds"] == pytest.approx(
        line["seconds"], abs=0.1
    )
    assert read(tmp_path / "out") == read(events)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.avro")}


def test_same_arguments_generate_the_same_bytes(events: Path, tmp_path: Path) -> None:
    again = generated(tmp_path / "again", "--rows", ROWS)
    other = generated(tmp_path / "other", "--rows", ROWS, "--seed", 2)
    assert contents(again) == contents(events)
    assert contents(other).keys() == contents(events).keys()
    assert read(other) != read(events)


def test_more_files_a_day_hold_the_same_rows(events: Path, tmp_path: Path) -> None:
    cut = generated(tmp_path, "--rows", ROWS, "--files-per-day", 3)
    assert len(contents(cut)) == 24
    assert read(cut) == read(events)


def test_events_lie_in_the_folder_of_their_day(events: Path) -> None:
    for folder in sorted((events / "events").iterdir()):
        days = {row["eventDate"].date().isoformat() for row in read(folder)}
        assert days == {folder.name.removeprefix("date=")}


def test_a_peer_refuses_a_folder_that_holds_output(events: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="FileExistsError"):
        peer("polars_script", events, tmp_path)


def test_equal_scores_are_cut_by_subject(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    from benchmarks.peers.polars_dedupe import capped

    day = pl.DataFrame(
        {
            "customerId": ["c"] * 5 + ["d"],
            "subjectId": ["s5", "s2", "s4", "s1", "s3", "s9"],
            "score": [0.5, 0.5, 0.5, 0.4, 0.9, 0.1],
        }
    )
    assert set(capped(day)["subjectId"]) == {"s3", "s2", "s4", "s9"}


def test_of_rows_at_one_time_the_first_read_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    from benchmarks.peers.polars_dedupe import deduplicated

    at = datetime(2017, 3, 1)
    frame = pl.DataFrame(
        {
            "customerId": ["c"] * 3,
            "subjectId": ["s"] * 3,
            "eventDate": [at + timedelta(seconds=1), at, at],
            "row": [0, 1, 2],
        }
    )
    assert deduplicated(frame)["row"].to_list() == [1]
