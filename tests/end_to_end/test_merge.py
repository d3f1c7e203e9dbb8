"""Merging a lake of real data as a user does: plan, merge, query, restore, make a day anew."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pytest

from tests.end_to_end.conftest import Muster

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

DAYS = ("--from", "2017-03-01", "--to", "2017-03-06")
SOLICIT = ("run", "solicit", "--program", "product-reviews")
Tree = Callable[[Path], dict[str, str]]


@pytest.fixture(scope="module")
def made(shared_muster: Muster) -> Path:
    """A lake of six days, not merged yet."""
    shared_muster(*SOLICIT, *DAYS, "--out", "made")
    return shared_muster.folder / "made"


@pytest.fixture
def lake(muster: Muster, made: Path) -> Path:
    """A copy of it for each test, at ``out``."""
    shutil.copytree(made, muster.folder / "out")
    return muster.folder / "out" / "lake"


def rows(files: list[Path]) -> Counter[str]:
    """Return the records of files as another program reads them."""
    found: Counter[str] = Counter()
    for path in files:
        with path.open("rb") as file:
            found.update(json.dumps(r, sort_keys=True, default=str) for r in fastavro.reader(file))
    return found


def fragments(lake: Path, record_type: str = "candidate") -> list[Path]:
    return sorted(lake.glob(f"fragments/{record_type}/*/*/*.avro"))


def seen(lake: Path, record_type: str = "candidate") -> list[Path]:
    """Return the files that a reader is sent to."""
    pointers = sorted(lake.glob(f"pointers/{record_type}/2017-03/*.json"))
    return [lake / key for key in json.loads(pointers[-1].read_text())["files"]]


def receipts(lake: Path) -> list[str]:
    location = seen(lake)[0].parent
    keys = (path.relative_to(lake / "merged").with_suffix(".json") for path in location.iterdir())
    return sorted(f"receipts/{key}" for key in keys)


def test_a_plan_shows_what_would_be_merged_and_writes_nothing(
    muster: Muster, lake: Path, tree: Tree
) -> None:
    before = tree(lake.parent)
    plan = muster.document("merge", "daily", "--type", "candidate", *DAYS, "--plan")
    assert tree(lake.parent) == before
    [month] = plan["merges"]
    assert [day["state"] for day in month["days"]] == ["merge"] * 6
    assert [source["key"] for source in month["sources"]] == [
        str(path.relative_to(lake)) for path in fragments(lake)
    ]
    assert [output["name"] for output in month["outputs"]] == [
        f"candidate_2017_03_0{n}" for n in range(1, 7)
    ]
    told = muster("merge", "daily", *DAYS, "--plan").stdout
    assert "candidate: daily merge" in told
    assert "rejection: daily merge" in told


def test_days_then_their_month(muster: Muster, lake: Path, tree: Tree) -> None:
    before = {name: rows(fragments(lake, name)) for name in ("candidate", "rejection")}
    sources = {str(p.relative_to(lake / "fragments")): p.read_bytes() for p in fragments(lake)}
    done = muster.document("merge", "daily", *DAYS)
    assert {month["status"] for month in done["merges"]} == {"merged"}
    states = [each["state"] for each in done["merges"][0]["states"]]
    assert states == ["FRAGMENTED", "QUERYING", "CONSOLIDATING", "MERGED", "ARCHIVED"]
    for name, expected in before.items():
        assert [path.name for path in seen(lake, name)] == [
            f"{name}_2017_03_0{n}.avro" for n in range(1, 7)
        ]
        assert rows(seen(lake, name)) == expected
    assert fragments(lake) == []
    for key, data in sources.items():
        assert (lake / "archive" / key).read_bytes() == data
    again = tree(lake.parent)
    told = muster("merge", "daily", *DAYS)
    assert "nothing to merge" in told.stdout
    muster("merge", "monthly", "--month", "2017-03", "--type", "candidate")
    assert [path.name for path in seen(lake)] == ["candidate_2017_03.avro"]
    assert rows(seen(lake)) == before["candidate"]
    assert {key: tree(lake.parent)[key] for key in again} == again  # only new files were written
    assert "2017-03  done  ARCHIVED" in muster("status", "merge").stdout


def test_a_month_at_once_has_the_bytes_of_one_merged_by_day(muster: Muster, lake: Path) -> None:
    shutil.copytree(lake.parent, muster.folder / "once")
    muster("merge", "daily", "--type", "candidate", "--date", "2017-03-04")
    muster("merge", "daily", "--type", "candidate", *DAYS)
    muster("merge", "monthly", "--type", "candidate", "--month", "2017-03")
    muster("merge", "monthly", "--type", "candidate", "--month", "2017-03", "--out", "once")
    [by_day], [at_once] = seen(lake), seen(muster.folder / "once" / "lake")
    assert by_day.read_bytes() == at_once.read_bytes()


def test_a_plan_that_was_written_is_applied_or_says_what_moved(muster: Muster, lake: Path) -> None:
    muster("merge", "daily", "--type", "candidate", *DAYS, "--plan", "-o", "plan.json")
    gone = fragments(lake)[0]
    kept = gone.read_bytes()
    gone.unlink()
    refused = muster("apply", "plan.json", code=1)
    assert gone.name in refused.stderr
    gone.write_bytes(kept)
    done = muster.document("apply", "plan.json")
    assert [month["status"] for month in done["merges"]] == ["merged"]
    again = muster.document("apply", "plan.json")["merges"]
    assert [(month["status"], month["generation"]) for month in again] == [("unchanged", 1)]


def test_a_damaged_fragment_stays_and_is_named_and_the_rest_goes_on(
    muster: Muster, lake: Path
) -> None:
    bad, *good = fragments(lake)
    expected = rows(good)
    data = bytearray(bad.read_bytes())
    data[len(data) // 2] ^= 1
    bad.write_bytes(data)
    told = muster("merge", "daily", "--type", "candidate", *DAYS, code=1)
    key = str(bad.relative_to(lake))
    assert f"left out: {key}: expected bytes of SHA-256" in told.stderr
    assert bad.read_bytes() == data
    assert rows(seen(lake)) == expected
    for receipt in receipts(lake):
        assert key in [said["key"] for said in json.loads((lake / receipt).read_text())["problems"]]
    again = muster("merge", "daily", "--type", "candidate", *DAYS, code=1)
    assert "1 files were found bad" in again.stderr
    muster("merge", "daily", "--type", "candidate", "--date", "2017-03-06")  # another day is well


def test_a_restored_day_can_be_merged_again_to_the_same_bytes(muster: Muster, lake: Path) -> None:
    everything = rows(fragments(lake))
    day = next(path for path in fragments(lake) if "2017-03-02" in path.parts)
    before = day.read_bytes()
    muster("merge", "monthly", "--type", "candidate", "--month", "2017-03")
    [month] = seen(lake)
    data = month.read_bytes()
    shutil.rmtree(lake / "archive")  # out of the merged file, then
    [receipt] = receipts(lake)
    muster("merge", "restore", "--receipt", receipt)
    assert day.read_bytes() == before
    assert rows(fragments(lake)) == everything
    told = muster("merge", "restore", "--receipt", receipt, code=1).stderr
    assert "expected its file to count, found it replaced" in told
    muster("merge", "monthly", "--type", "candidate", "--month", "2017-03")
    [again] = seen(lake)
    assert again.read_bytes() == data


@pytest.mark.parametrize("cleaned", [False, True])
def test_a_day_made_anew_after_its_merge_replaces_its_rows(
    muster: Muster, lake: Path, *, cleaned: bool, items: Callable[[Path], list[dict[str, Any]]]
) -> None:
    """The store, too: it reads fragments that are archived by then, or in merged files only."""
    shutil.copytree(lake.parent, muster.folder / "unmerged")
    muster("merge", "monthly", "--month", "2017-03")
    if cleaned:
        shutil.rmtree(lake / "archive")
    program = muster.folder / "stricter.yaml"
    copied = Path("conf/programs/product-reviews.yaml").read_text()
    stricter = copied.replace("perCustomer: 3", "perCustomer: 1")
    assert stricter != copied
    program.write_text(stricter)
    for out in ("out", "unmerged"):
        stale = ("--program", str(program), *DAYS, "--reprocess", "stale", "--out", out)
        muster("run", "solicit", *stale)
    new = rows(fragments(muster.folder / "unmerged" / "lake"))
    assert rows(seen(lake)) != new
    plan = muster.document("merge", "daily", "--type", "candidate", *DAYS, "--plan")
    assert "made anew" in plan["merges"][0]["days"][0]["why"]
    muster("merge", "daily", "--type", "candidate", *DAYS)
    assert rows(seen(lake)) == new
    ours, theirs = (muster.folder / name / "candidates.sqlite" for name in ("out", "unmerged"))
    assert items(ours) == items(theirs)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("daily", "--type", "candidate"), 2, "expected --date, or --from and --to"),
        (("daily", "--date", "2017-03-01", "--type", "candidates"), 1, "is not registered"),
        (("daily", "--date", "2017-03-01", "--type", "candidate", "--dedupe"), 2, "dedupeHash"),
        (("monthly", "--month", "2017-3"), 2, "expected a month like 2017-03"),
        (("daily", "--date", "2017-03-01"), 1, "expected fragments of candidate"),
        (("restore", "--receipt", "receipts/none.json"), 1, "expected a receipt"),
    ],
)
def test_wrong_use_is_told_in_a_line(
    muster: Muster, arguments: tuple[str, ...], code: int, told: str
) -> None:
    found = muster("merge", *arguments, code=code)
    assert told in found.stderr
    assert "Traceback" not in found.stderr
