"""One merge of a month from what was promised to what readers see."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.merges.consolidate import GONE, Consolidation, consolidate
from pipelines.catalogs.files import FileCatalog
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Record
from pipelines.merging import dedupe
from pipelines.merging.engines import LocalEngine
from pipelines.merging.errors import GenerationMoved, NothingLeft, NotVerified
from pipelines.merging.parts import Fragment
from pipelines.merging.plan import MergePlan, Rules, plan
from pipelines.merging.publisher import MergePublisher
from pipelines.merging.receipts import read_receipt
from pipelines.merging.survey import Partition, survey, unit_name
from pipelines.publisher import Promise
from tests.unit.pipelines.merging.lakes import (
    CODES,
    DAY,
    LIMIT,
    MONTH,
    NEXT_DAY,
    Rows,
    SmallLake,
    append,
    foreign,
    read,
    rows,
    said,
)

UNIT = unit_name(CODES.name, MONTH)
THIRD = "2017-03-03"
DAILY = Rules("daily", 1, "null", target_bytes=1 << 20, limit_bytes=LIMIT)
MONTHLY = replace(DAILY, kind="monthly")


class Month:
    """A month of a lake, and merges of it as the job makes them."""

    def __init__(self, small: SmallLake) -> None:
        self.small = small
        self.storage = small.lake.storage
        self.ledger = Ledger(self.storage)
        self.catalog = FileCatalog(self.storage)
        self.engine = LocalEngine(2)

    @property
    def now(self) -> Partition:
        return survey(self.storage, self.ledger, CODES.name, [MONTH])[MONTH]

    def planned(self, rules: Rules, *days: str) -> tuple[MergePlan, Promise]:
        now = self.now
        made = plan(now, rules, days)
        taken = {f.key: [f.version, f.records, f.size] for f in made.taken}
        files = {f.key: [f.digest, f.records, f.size] for f in now.files}
        return made, Promise({**taken, **files, **{key: [GONE, None, None] for key in now.gone}})

    def merge(self, rules: Rules, *days: str, promise: Promise | None = None) -> Record:
        """Make the next generation, and finish it; returns the ``succeeded`` record."""
        promise = promise or self.planned(rules, *days)[1]
        lease = append(self.ledger, UNIT, "planned", "leased")
        publisher = MergePublisher(self.storage, self.ledger, self.catalog)
        settings = {"kind": rules.kind, "codec": rules.codec}
        work = Consolidation(
            *(self.small.settings, self.storage, self.ledger, publisher, self.engine),
            *(rules, settings, days),
        )
        try:
            record = consolidate(work, self.now, lease, promise, {}, 0.0)
        except Exception:
            append(self.ledger, UNIT, "failed")
            raise
        return publisher.finish(record)

    def rows(self) -> Rows:
        """Return what readers see: the files that the pointer names."""
        pointer = self.catalog.pointer(CODES.name, MONTH)
        keys = pointer.files if pointer else ()
        found = [row for key in keys for row in read(self.storage.read(key))]
        assert pointer is None or sorted(keys) == [
            o.key for o in self.storage.list(pointer.location)
        ]
        return found

    def codes(self) -> list[str]:
        return sorted(row["code"] for row in self.rows())

    def left(self) -> list[str]:
        """Return the fragments that are where they were."""
        return [o.key.rpartition("/")[2][:-5] for o in self.storage.list("fragments")]


def codes(*numbers: int) -> list[str]:
    return sorted(f"code-{n}" for n in numbers)


@pytest.fixture
def month(small: SmallLake) -> Iterator[Month]:
    made = Month(small)
    with made.engine:
        yield made


def balance(record: Record) -> dict[str, int]:
    return {name: record.details["balance"][name] for name in ("read", "written", "deduplicated")}


def problems(record: Record) -> list[str]:
    return [p["key"].rpartition("/")[2][:-5] for p in record.details["problems"]]


def test_days_then_their_month(month: Month) -> None:
    small = month.small
    small.put("a", foreign(rows([1, 2])))
    small.put("b", small.own(rows([3])))
    small.put("c", foreign(rows([4]), "deflate"), NEXT_DAY)
    first = month.merge(DAILY, DAY)
    assert month.codes() == codes(1, 2, 3)
    assert month.left() == ["c"]
    assert (first.event, balance(first)) == (
        "succeeded",
        {"read": 3, "written": 3, "deduplicated": 0},
    )
    month.merge(DAILY, NEXT_DAY)
    assert month.codes() == codes(1, 2, 3, 4)
    assert (month.left(), len(month.now.files)) == ([], 2)
    last = month.merge(MONTHLY)
    assert month.codes() == codes(1, 2, 3, 4)
    assert (last.details["generation"], last.details["files"], last.details["records"]) == (3, 1, 4)
    assert month.now.fragments == ()
    assert not month.planned(MONTHLY)[0].makes


def test_a_late_day_lies_beside_its_month_until_that_is_merged_again(month: Month) -> None:
    month.small.put("a", foreign(rows([1])))
    month.merge(MONTHLY)
    month.small.put("late", foreign(rows([2])))
    month.merge(DAILY, DAY)
    assert (month.codes(), len(month.now.files)) == (codes(1, 2), 2)
    month.merge(MONTHLY)
    assert (month.codes(), len(month.now.files)) == (codes(1, 2), 1)


@pytest.mark.parametrize("rules", [DAILY, MONTHLY])
def test_rows_of_a_unit_made_anew_leave_the_months_file(month: Month, rules: Rules) -> None:
    small, unit = month.small, f"solicit/landed/{DAY}"
    events = ("planned", "leased", "published", "succeeded")
    old, kept = small.put("old", foreign(rows([1]))), small.put("kept", foreign(rows([2])))
    small.put("other", foreign(rows([3])), NEXT_DAY)
    known = [replace(f, sha256=None) for f in (old, kept)]
    append(month.ledger, unit, *events, fragments=said(*known))
    month.merge(MONTHLY)
    assert month.codes() == codes(1, 2, 3)
    new = small.put("new", foreign(rows([9])))
    append(month.ledger, unit, *events, run="again", fragments=said(known[1], new))
    assert month.now.gone == {old.key}
    month.merge(rules, DAY)
    assert month.codes() == codes(2, 3, 9)
    assert month.now.gone == frozenset()


def test_what_a_bounded_run_leaves_is_merged_by_the_next(month: Month) -> None:
    """However small a part of its day it is, for it is not late."""
    for n in range(5):
        month.small.put(f"f{n}", foreign(rows([n])))
    bounded = replace(DAILY, most_files=2, late_ratio=1.0)
    first = month.merge(bounded, DAY)
    assert (month.left(), first.details["deferred"]) == (["f2", "f3", "f4"], [DAY])
    second = month.merge(bounded, DAY)
    assert (month.left(), second.details["deferred"]) == (["f4"], [DAY])
    third = month.merge(bounded, DAY)
    assert (month.left(), third.details["deferred"]) == ([], [])
    assert month.codes() == codes(*range(5))


def test_a_day_that_was_left_is_remembered_by_merges_of_others(month: Month) -> None:
    for n in range(3):
        month.small.put(f"f{n}", foreign(rows([n])))
    month.small.put("other", foreign(rows([7])), NEXT_DAY)
    rules = replace(DAILY, most_files=2, late_ratio=1.0)
    month.merge(rules, DAY)
    assert month.merge(rules, NEXT_DAY).details["deferred"] == [DAY]
    assert month.merge(rules, DAY).details["deferred"] == []
    assert month.codes() == codes(0, 1, 2, 7)


def test_what_is_bad_is_not_what_was_left(month: Month) -> None:
    month.small.put("a", foreign(rows([1])))
    month.small.put("bad", foreign(rows([2]))[:-1])
    month.merge(DAILY, DAY)
    month.small.put("b", foreign(rows([3])))
    assert month.merge(replace(DAILY, most_files=9), DAY).details["deferred"] == []


def test_bad_sources_are_remembered_and_not_tried_again(month: Month) -> None:
    month.small.put("a", foreign(rows([1])))
    bad = month.small.put("bad", foreign(rows([2]))[:-1])
    first = month.merge(DAILY, DAY)
    assert (month.codes(), month.left(), problems(first)) == (codes(1), ["bad"], ["bad"])
    receipt = read_receipt(month.storage, first.details["receipts"][0])
    assert [p["key"] for p in receipt["problems"]] == [bad.key]
    made, _ = month.planned(DAILY, DAY)
    assert (made.makes, list(made.bad)) == (False, [bad.key])
    month.small.put("b", foreign(rows([3])))
    second = month.merge(DAILY, DAY)
    assert (month.codes(), problems(second)) == (codes(1, 3), [])
    assert [each["key"] for each in second.details["bad"]] == [bad.key]
    month.small.put("bad", foreign(rows([2])))
    month.merge(DAILY, DAY)
    assert (month.codes(), month.left()) == (codes(1, 2, 3), [])


def test_nothing_but_bad_sources_is_no_generation(month: Month) -> None:
    month.small.put("bad", b"nothing")
    with pytest.raises(NothingLeft, match=r"bad\.avro: expected to begin with"):
        month.merge(DAILY, DAY)
    assert (month.rows(), month.left()) == ([], ["bad"])
    month.small.put("a", foreign(rows([1])), NEXT_DAY)
    month.merge(DAILY, NEXT_DAY)
    with pytest.raises(NothingLeft):
        month.merge(DAILY, DAY)
    assert month.codes() == codes(1)


def test_what_moved_since_it_was_planned_is_left_out_and_named(month: Month) -> None:
    small = month.small
    for name, n in (("good", 1), ("gone", 2), ("other", 3)):
        small.put(name, foreign(rows([n])))
    _, promise = month.planned(DAILY, DAY)
    [gone] = [key for key in promise.inputs if key.endswith("/gone.avro")]
    month.storage.delete([gone])
    small.put("other", foreign(rows([4])))
    small.put("new", foreign(rows([5])))
    record = month.merge(DAILY, DAY, promise=promise)
    assert (month.codes(), month.left()) == (codes(1), ["new", "other"])
    told = {p["key"].rpartition("/")[2]: p["what"] for p in record.details["problems"]}
    assert told["gone.avro"] == "expected a file, found none: it vanished since it was planned"
    assert "expected version " in told["other.avro"]
    assert "it was replaced" in told["other.avro"]


def test_another_generation_than_the_planned_one_is_no_base(month: Month) -> None:
    month.small.put("a", foreign(rows([1])))
    _, promise = month.planned(DAILY, DAY)
    month.merge(DAILY, DAY)
    month.small.put("b", foreign(rows([2])))
    with pytest.raises(GenerationMoved):
        month.merge(DAILY, DAY, promise=promise)
    assert month.codes() == codes(1)


SMALL = replace(DAILY, target_bytes=2000, limit_bytes=8000)


def test_a_large_fragment_is_merged_in_parts(month: Month) -> None:
    month.small.put("large", foreign(rows(range(60)), block_bytes=300))
    record = month.merge(SMALL, DAY)
    assert record.details["files"] > 3
    assert month.codes() == codes(*range(60))
    assert (month.left(), month.now.fragments) == ([], ())
    month.merge(replace(SMALL, kind="monthly"))
    assert month.codes() == codes(*range(60))
    assert [row["code"] for row in month.rows()] == [f"code-{n}" for n in range(60)]


@pytest.mark.parametrize("rules", [SMALL, replace(SMALL, dedupe=True)])
def test_no_part_of_a_large_bad_fragment_is_merged(month: Month, rules: Rules) -> None:
    """Its parts go into several files, and only the last of them is damaged."""
    month.small.put("large", foreign(rows(range(60)), block_bytes=300)[:-1])
    month.small.put("a", foreign(rows([100])))
    record = month.merge(rules, DAY)
    assert (month.codes(), month.left()) == (codes(100), ["large"])
    assert problems(record) == ["large"]
    assert balance(record)["read"] == 1


def test_a_large_fragment_has_the_rows_that_the_ledger_knows(month: Month) -> None:
    """Nobody reads it as a whole, so that it is their sum that is compared."""
    unit, events = f"solicit/landed/{DAY}", ("planned", "leased", "published", "succeeded")
    large = month.small.put("large", foreign(rows(range(60)), block_bytes=300), records=61)
    good = month.small.put("good", foreign(rows([100])), records=1)
    append(month.ledger, unit, *events, fragments=said(large, good))
    record = month.merge(SMALL, DAY)
    assert (month.codes(), problems(record)) == (codes(100), ["large"])
    assert record.details["problems"][0]["what"] == "expected 61 rows, found 60"


class TestDedupe:
    rules = replace(DAILY, dedupe=True)

    def put(
        self, month: Month, name: str, *numbers: int, bad: bool = False, day: str = DAY
    ) -> Fragment:
        """Put rows there whose hashes are those of number // 10."""
        some = [
            row | {"dedupeHash": f"{n // 10}"}
            for row, n in zip(rows(numbers), numbers, strict=True)
        ]
        data = foreign(some, block_bytes=1)
        return month.small.put(name, data[:-1] if bad else data, day)

    def test_over_days_and_passes(self, month: Month, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dedupe, "_HASHES_A_PASS", 3)
        self.put(month, "a", 10, 20, 11, 30)
        self.put(month, "b", 21, 40, 31)
        self.put(month, "c", 41, 50, 12, day=NEXT_DAY)
        record = month.merge(replace(self.rules, kind="monthly"))
        assert month.codes() == codes(10, 20, 30, 40, 50)
        assert balance(record) == {"read": 10, "written": 5, "deduplicated": 5}
        assert record.details["problems"] == []

    def test_again_and_with_what_was_merged(self, month: Month) -> None:
        self.put(month, "a", 10, 20)
        month.merge(DAILY, DAY)
        self.put(month, "b", 11, 30)
        record = month.merge(self.rules, DAY)
        assert month.codes() == codes(10, 20, 30)
        assert balance(record) == {"read": 4, "written": 3, "deduplicated": 1}

    def test_nothing_but_duplicates(self, month: Month) -> None:
        """Such a fragment is merged: it is in the archive, and never looked for again."""
        unit, events = f"solicit/landed/{DAY}", ("planned", "leased", "published", "succeeded")
        both = self.put(month, "a", 10, 20), self.put(month, "b", 11, 21)
        append(month.ledger, unit, *events, fragments=said(*both))
        month.merge(self.rules, DAY)
        assert (month.codes(), month.left()) == (codes(10, 20), [])
        assert (month.now.fragments, month.now.problems) == ((), ())
        month.merge(replace(self.rules, kind="monthly"))
        assert month.now.problems == ()
        assert month.codes() == codes(10, 20)

    def test_duplicates_of_a_bad_source_come_back(self, month: Month) -> None:
        """One is bad when it is looked through, the other only by what the ledger knows of it."""
        unit, events = f"solicit/landed/{DAY}", ("planned", "leased", "published", "succeeded")
        self.put(month, "a", 10, bad=True, day=NEXT_DAY)
        wrong = replace(self.put(month, "b", 20, 30), sha256="0" * 64, records=2)
        good = self.put(month, "c", 11, 21, 40)
        append(month.ledger, unit, *events, fragments=said(wrong, good))
        self.put(month, "d", 12, 31, 41, day=THIRD)
        record = month.merge(replace(self.rules, kind="monthly"))
        assert month.codes() == codes(11, 21, 31, 40)
        assert problems(record) == ["a", "b"]
        assert month.left() == ["b", "a"]
        assert balance(record) == {"read": 6, "written": 4, "deduplicated": 2}


def test_a_damaged_merged_file_is_no_reason_to_drop_its_rows(month: Month) -> None:
    month.small.put("a", foreign(rows([1])))
    month.merge(DAILY, DAY)
    [file] = month.now.files
    month.storage.write(file.key, [month.small.data(file).replace(b"code-1", b"code-2")])
    month.small.put("b", foreign(rows([3])))
    for rules in (DAILY, replace(DAILY, dedupe=True), replace(DAILY, codec="deflate")):
        with pytest.raises(NotVerified):
            month.merge(rules, DAY)
    assert month.left() == ["b"]


@pytest.mark.parametrize("named", [True, False])
def test_a_large_fragment_is_the_one_that_the_ledger_knows(month: Month, *, named: bool) -> None:
    """A changed byte of a payload that no block can show: whoever reads a part cannot see it."""
    data = bytearray(foreign(rows(range(60)), block_bytes=300))
    kept = hashlib.sha256(data).hexdigest()
    at = data.index(b"code-31")
    data[at : at + 7] = b"code-13"
    large = replace(month.small.put("large", bytes(data)), sha256=kept, records=60)
    good = replace(month.small.put("good", foreign(rows([100]))), records=1)
    if named:
        unit = f"solicit/{large.program}/{DAY}"
        events = ("planned", "leased", "published", "succeeded")
        sha256 = hashlib.sha256(month.storage.read(good.key)).hexdigest()
        both = said(large, replace(good, sha256=sha256))
        append(month.ledger, unit, *events, fragments=both)
    record = month.merge(replace(DAILY, target_bytes=700), DAY)
    assert problems(record) == (["large"] if named else [])
    assert ("code-31" in month.codes()) is False
    assert len(month.codes()) == (1 if named else 61)


def test_a_month_of_several_files_has_the_same_bytes_whatever_way_it_was_merged(
    month: Month, tmp_path: Path
) -> None:
    other = Month(SmallLake(replace(month.small.settings, root=str(tmp_path / "other"))))
    header = len(month.small.own([]))
    sizes = [5, 1, 9, 2, 7, 7, 3, 8, 1, 6]
    for number, count in enumerate(sizes):
        data = month.small.own(rows(range(10 * number, 10 * number + count)))
        for each in (month, other):
            each.small.put(f"f{number}", data, (DAY, NEXT_DAY, THIRD)[number % 3])
    rules = replace(DAILY, target_bytes=1200, header_bytes=header)
    month.merge(rules, DAY)
    month.merge(rules, NEXT_DAY, THIRD)
    month.merge(replace(rules, kind="monthly"))
    with other.engine:
        other.merge(replace(rules, kind="monthly"))
    by_day, at_once = (
        [each.storage.read(file.key) for file in each.now.files] for each in (month, other)
    )
    assert len(at_once) > 2
    assert by_day == at_once
