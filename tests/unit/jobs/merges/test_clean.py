from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import WrongUse
from jobs.merges.clean import age, clean
from jobs.merges.restore import restore
from pipelines.catalogs.files import FileCatalog
from pipelines.errors import StorageFailed
from pipelines.ledger.record import Event
from pipelines.ledger.runs import Run
from pipelines.merging.clean import look, remove
from pipelines.merging.engines import LocalEngine
from pipelines.storage import Storage
from tests.properties.merges import File, MergedLake, day
from tests.unit.jobs.merges.lakes import (
    MERGE,
    MONTH,
    TYPE,
    append,
    cleaned,
    later,
    ledger_of,
    merge,
    published,
    some,
    told,
)

HERE = f"merged/{TYPE}/{MONTH}"
YOUNG = "newer than"


@pytest.fixture
def lake(tmp_path: Path) -> MergedLake:
    return MergedLake(tmp_path)


@pytest.fixture
def merged(lake: MergedLake) -> MergedLake:
    """A lake of three days, merged by day and then as a month."""
    published(lake)
    merge(lake, "daily", "monthly")
    return lake


def keys(lake: MergedLake, *tops: str) -> list[str]:
    return [key for top in tops for key in lake.under(top)]


# --- what goes ------------------------------------------------------------------------------------


def test_archived_sources_and_superseded_generations_go(merged: MergedLake) -> None:
    before = merged.tree()
    gone = {*keys(merged, "archive"), *(k for k in keys(merged, "merged") if "/g000001-" in k)}
    assert len(gone) == 6
    found = told(cleaned(merged))
    assert found == {
        ("superseded", "removed"): (3, "readers were sent on"),
        ("archived", "removed"): (3, "current files have their rows, byte for byte"),
    }
    after = merged.tree()
    assert {key for key in before if key not in after} == gone
    # Beside that, only the run's sign of life was written.
    assert [key for key in after if key not in before] == keys(merged, "_ledger/runs")[-1:]
    assert all(after[key] == data for key, data in before.items() if key not in gone)


def test_a_second_time_nothing_is_left(merged: MergedLake) -> None:
    cleaned(merged)
    before = merged.tree()
    assert cleaned(merged) == ()
    assert merged.tree() == before


def test_a_dry_run_says_the_same_and_changes_nothing(merged: MergedLake) -> None:
    before = merged.tree()
    said = cleaned(merged, dry_run=True)
    assert merged.tree() == before
    done = cleaned(merged)
    assert {k: files for (k, _), files in told(said).items()} == {
        k: files for (k, _), files in told(done).items()
    }
    assert [line.keys for share in said for line in share.lines] == [
        line.keys for share in done for line in share.lines
    ]


@pytest.mark.parametrize(
    ("days", "options", "goes"),
    [
        (6.9, {}, False),
        (7.1, {}, True),
        (6.9, {"older_than": timedelta(hours=12)}, True),
        (0.4, {"older_than": timedelta(hours=12)}, False),
        (8, {"older_than": timedelta(weeks=4)}, False),
    ],
)
def test_what_is_newer_stays(
    merged: MergedLake, days: float, options: dict[str, Any], goes: bool
) -> None:
    before = keys(merged, "archive", "merged")
    found = told(cleaned(merged, days, **options))
    assert (keys(merged, "archive", "merged") != before) is goes
    assert all(why.startswith(YOUNG) is not goes for _, why in found.values())


def test_ages_are_given_in_hours_days_and_weeks() -> None:
    assert [age(text) for text in ("12h", "7d", "4w", "0d")] == [
        timedelta(hours=12),
        timedelta(days=7),
        timedelta(days=28),
        timedelta(0),
    ]


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "7 d", "7m", "1.5d", "٣d", "60000w"])
def test_other_ages_are_refused(text: str) -> None:
    with pytest.raises(WrongUse, match="expected an age like 12h, 7d or 4w, found"):
        age(text)


# --- what nobody knows of -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        f"{HERE}/mine/x.avro",
        f"{HERE}/x.avro",
        f"merged/{TYPE}/x.avro",
        f"merged/{TYPE}/2017-02/g000001-ab/x.avro",
        f"archive/{TYPE}/reviews/{day(0)}/x.avro",
        f"archive/{TYPE}/x.avro",
    ],
)
def test_a_file_that_no_record_tells_of_stays_and_is_shown(merged: MergedLake, key: str) -> None:
    merged.storage.write(key, [b"x"])
    found = told(cleaned(merged))
    assert found["unknown", "kept"] == (1, "no record tells whether they count")
    assert merged.storage.read(key) == b"x"


@pytest.mark.parametrize("number", ["1", "2"])
def test_a_file_that_somebody_put_into_a_generation_stays(merged: MergedLake, number: str) -> None:
    place = next(k for k in keys(merged, "merged") if f"/g00000{number}-" in k).rpartition("/")[0]
    merged.storage.write(f"{place}/mine.avro", [b"x"])
    assert told(cleaned(merged))["unknown", "kept"][0] == 1
    assert merged.storage.read(f"{place}/mine.avro") == b"x"


def test_an_archived_file_that_is_another_by_now_stays(merged: MergedLake) -> None:
    key = keys(merged, "archive")[0]
    merged.storage.delete([key])
    merged.storage.write(key, [b"another"])
    assert told(cleaned(merged))["unknown", "kept"][0] == 1
    assert keys(merged, "archive") == [key]


def test_without_its_receipt_nobody_knows_of_an_archived_file(lake: MergedLake) -> None:
    published(lake)
    merge(lake, "daily", "monthly")
    lake.storage.delete(k for k in keys(lake, "receipts") if "/g000001-" in k)
    found = told(cleaned(lake))
    assert found["unknown", "kept"][0] == 3
    assert found["superseded", "removed"][0] == 3
    assert len(keys(lake, "archive")) == 3


# --- archived fragments ---------------------------------------------------------------------------


def test_sources_that_were_put_back_stay_in_the_archive(lake: MergedLake) -> None:
    lake.put(some())
    merge(lake, "daily")
    with LocalEngine(1) as engine:
        restore(lake.environment, [keys(lake, "receipts")[0]], engine)
    found = told(cleaned(lake))
    assert found["archived", "kept"] == (1, "no current file has their rows")
    assert keys(lake, "archive") == [some()[0].archived]


def test_a_source_that_was_merged_again_is_as_old_as_its_latest_merge(lake: MergedLake) -> None:
    """The first merge is of long ago, and so is what is superseded; the archived copy is new."""
    lake.put(some(1))
    merge(lake, "daily")
    with LocalEngine(1) as engine:
        restore(lake.environment, keys(lake, "receipts"), engine)
    merge(lake, "daily")
    _set_times(lake, before=8)
    found = told(cleaned(lake, 0))
    assert found["archived", "kept"] == (1, found["archived", "kept"][1])
    assert found["archived", "kept"][1].startswith(YOUNG)


def _set_times(lake: MergedLake, before: int) -> None:
    """Let the month's records up to this number be of long ago."""
    for seq in range(1, before + 1):
        key = ledger_of(lake).key(MERGE, seq)
        old = lake.storage.read(key).replace(b'"at":"20', b'"at":"19')
        lake.storage.write(key, [old])


def test_sources_of_days_that_were_made_anew_go(lake: MergedLake) -> None:
    published(lake)
    merge(lake, "daily")
    lake.publish("reviews", day(0), [File(TYPE, day(0), "anew", (90, 91))])
    merge(lake, "daily")
    lines = [line for share in cleaned(lake) for line in share.lines if line.what == "archived"]
    assert {line.why: line.files for line in lines} == {
        "their day was made anew since": 1,
        "current files have their rows, byte for byte": 3,
    }
    assert keys(lake, "archive") == []


def test_sources_of_a_day_that_is_being_made_anew_stay(lake: MergedLake) -> None:
    """Its store may still have to take their candidates back."""
    published(lake, 1)
    merge(lake, "daily")
    lake.publish("reviews", day(0), [File(TYPE, day(0), "anew", (90, 91))])
    merge(lake, "daily")
    append(lake, "planned", "leased", unit=f"solicit/reviews/{day(0)}")
    found = told(cleaned(lake))
    assert found["archived", "kept"] == (1, "no current file has their rows")
    assert found["archived", "removed"][0] == 1


@pytest.mark.parametrize("codec", ["deflate", "snappy"])
def test_sources_that_only_the_archive_can_give_back_are_counted(
    lake: MergedLake, codec: str
) -> None:
    """Of landed files nobody knows the SHA-256, so that even a copied body proves nothing."""
    lake.put(some(2, codec=codec))
    merge(lake, "daily")
    found = told(cleaned(lake))
    why = "current files have their rows; `merge restore` cannot make these again"
    assert found == {("archived", "removed"): (2, why)}


def test_candidates_that_a_store_may_ask_for_stay(lake: MergedLake) -> None:
    published(lake, 1)
    merge(lake, "daily", codec="deflate")
    found = told(cleaned(lake))
    why = "current files have their rows made anew, a store may need the files"
    assert found == {("archived", "kept"): (1, why)}


def test_candidates_stay_that_the_store_has_to_take_back(lake: MergedLake) -> None:
    """Their day is published anew, and the store does not have it yet."""
    published(lake, 1)
    merge(lake, "daily", codec="deflate")
    append(lake, "planned", "leased", "published", unit=f"solicit/reviews/{day(0)}", fragments=[])
    assert told(cleaned(lake))["archived", "kept"][0] == 1
    append(lake, "succeeded", unit=f"solicit/reviews/{day(0)}", fragments=[])
    assert told(cleaned(lake))["archived", "removed"][0] == 1


def test_a_merge_that_was_never_completed_tells_nothing_of_its_sources(lake: MergedLake) -> None:
    lake.put(some(1))
    merge(lake, "daily")
    last = ledger_of(lake).last(MERGE)
    assert last is not None
    lake.storage.delete([ledger_of(lake).key(MERGE, last.seq)])
    append(lake, "planned", "leased", "published", "succeeded", **{**last.details, "made": []})
    assert told(cleaned(lake))["unknown", "kept"][0] == 1


# --- months that are left alone -------------------------------------------------------------------


def test_a_month_that_a_run_is_at_work_on_is_left_alone(merged: MergedLake) -> None:
    before = keys(merged, "archive", "merged")
    with Run(ledger_of(merged), 60) as run:
        append(merged, "planned", run=run.token)
        found = told(cleaned(merged, 0, older_than=timedelta(0)))
    assert list(found) == [("left alone", "kept")]
    assert f"run {run.token}" in found["left alone", "kept"][1]
    assert keys(merged, "archive", "merged") == before


def test_a_month_whose_merge_was_not_completed_is_left_alone(merged: MergedLake) -> None:
    before = keys(merged, "archive", "merged")
    last = ledger_of(merged).last(MERGE)
    assert last is not None
    append(merged, "planned", "leased", "published", **last.details)
    found = told(cleaned(merged))
    why = "published, not completed: merge it again first"
    assert found["left alone", "kept"][1] == why
    assert keys(merged, "archive", "merged") == before


def test_a_month_whose_readers_are_elsewhere_is_left_alone(merged: MergedLake) -> None:
    files = tuple(key for key in keys(merged, "merged") if "/g000001-" in key)
    here = merged.pointer(TYPE)
    assert here is not None
    merged.storage.delete([f"pointers/{TYPE}/{MONTH}/000002.json"])
    found = told(cleaned(merged))
    assert "the catalog sends readers to" in found["left alone", "kept"][1]
    assert set(files) <= {*keys(merged, "merged")}
    FileCatalog(merged.storage).switch(here)
    assert ("superseded", "removed") in told(cleaned(merged))


@pytest.mark.parametrize("what", ["gone", "cut", "receipt"])
def test_a_month_whose_current_files_are_not_whole_is_left_alone(
    merged: MergedLake, what: str
) -> None:
    """Its sources may be all there is of its rows."""
    pointer = merged.pointer(TYPE)
    assert pointer is not None
    (key,) = pointer.files
    data = merged.storage.read(key)
    before = keys(merged, "archive")
    merged.storage.delete([keys(merged, "receipts")[-1]] if what == "receipt" else [key])
    if what == "cut":
        merged.storage.write(key, [data[:-1]])
    found = told(_looked(merged))
    assert list(found) == [("left alone", "kept")]
    assert keys(merged, "archive") == before


def _looked(lake: MergedLake, cutoff: str = "9") -> list[Any]:
    return look(lake.storage, ledger_of(lake), FileCatalog(lake.storage), TYPE, cutoff)


# --- orphans --------------------------------------------------------------------------------------

PLACE = f"{HERE}/g000001-00000000dead"
ORPHANS = [f"{PLACE}/x.avro", f"receipts/{TYPE}/{MONTH}/g000001-00000000dead/x.json"]


def _orphans(lake: MergedLake, *ends: Event) -> None:
    append(lake, "planned", "leased", "progressed", location=PLACE)
    for key in ORPHANS:
        lake.storage.write(key, [b"x"])
    if ends:
        append(lake, *ends, error="disk full")


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_what_an_attempt_wrote_that_ended_goes(lake: MergedLake, end: Event) -> None:
    _orphans(lake, end)
    found = told(cleaned(lake))
    assert found == {("orphan", "removed"): (2, "written by an attempt that died")}
    assert keys(lake, "merged", "receipts") == []
    last = ledger_of(lake).last(MERGE)
    assert last is not None
    assert (last.event, last.details["error"]) == (end, "disk full")


def test_what_a_run_wrote_that_is_gone_goes_and_it_cannot_publish_any_more(
    lake: MergedLake,
) -> None:
    _orphans(lake)
    was = ledger_of(lake).last(MERGE)
    assert was is not None
    assert told(cleaned(lake))["orphan", "removed"][0] == 2
    last = ledger_of(lake).last(MERGE)
    assert last is not None
    assert (last.event, last.details["error"]) == ("failed", "left by run gone, which is gone")
    with pytest.raises(Exception, match="expected to be the next to write"):
        ledger_of(lake).go_on(was, "published")


def test_what_a_run_writes_that_lives_stays(lake: MergedLake) -> None:
    with Run(ledger_of(lake), 60) as run:
        append(lake, "planned", "leased", "progressed", run=run.token, location=PLACE)
        lake.storage.write(ORPHANS[0], [b"x"])
        assert list(told(cleaned(lake, 0, older_than=timedelta(0)))) == [("left alone", "kept")]
    assert keys(lake, "merged") == ORPHANS[:1]


def test_what_an_attempt_wrote_lately_stays(lake: MergedLake) -> None:
    _orphans(lake, "failed")
    found = told(cleaned(lake, 6))
    assert found["orphan", "kept"][1].startswith(YOUNG)
    assert len(keys(lake, "merged")) == 1


def test_a_place_that_was_published_after_all_is_none_of_an_attempt(merged: MergedLake) -> None:
    """The same merge, made again after it died, writes to the same place."""
    pointer = merged.pointer(TYPE)
    assert pointer is not None
    first = ledger_of(merged).record(MERGE, 3)
    assert first.event == "progressed"
    append(merged, "planned", "leased", "progressed", "failed", location=pointer.location)
    cleaned(merged)
    assert keys(merged, "merged") == [*pointer.files]


def test_files_of_a_days_attempt_go_and_those_that_count_stay(lake: MergedLake) -> None:
    (key,) = published(lake, 1)
    landed = some(1, program="landed")
    lake.put(landed)
    stray = f"fragments/{TYPE}/reviews/{day(0)}/stray.avro"
    lake.storage.write(stray, [b"x"])
    found = told(cleaned(lake))
    assert found == {("orphan", "removed"): (1, "written by an attempt that died")}
    assert keys(lake, "fragments") == [landed[0].key, key]


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_what_was_published_counts_whatever_became_of_the_next_attempt(
    lake: MergedLake, end: Event
) -> None:
    before = published(lake, 1)
    append(lake, "planned", "leased", end, unit=f"solicit/reviews/{day(0)}")
    lake.storage.write(f"fragments/{TYPE}/reviews/{day(0)}/stray.avro", [b"x"])
    assert told(cleaned(lake))["orphan", "removed"][0] == 1
    assert keys(lake, "fragments") == before


def test_files_of_a_day_that_was_not_completed_stay(lake: MergedLake) -> None:
    """Its store may still have to take candidates back, and read them here."""
    published(lake, 1)
    stray = f"fragments/{TYPE}/reviews/{day(0)}/former.avro"
    lake.storage.write(stray, [b"x"])
    append(lake, "planned", "leased", "published", unit=f"solicit/reviews/{day(0)}", fragments=[])
    found = told(cleaned(lake))
    assert found["left alone", "kept"] == (2, "published, not completed: run it again first")
    assert stray in keys(lake, "fragments")


def test_files_of_a_day_that_is_being_made_stay(lake: MergedLake) -> None:
    published(lake, 1)
    lake.storage.write(f"fragments/{TYPE}/reviews/{day(0)}/new.avro", [b"x"])
    with Run(ledger_of(lake), 60) as run:
        append(lake, "planned", "leased", unit=f"solicit/reviews/{day(0)}", run=run.token)
        found = told(cleaned(lake, 0, older_than=timedelta(0)))
    assert list(found) == [("left alone", "kept")]
    assert len(keys(lake, "fragments")) == 2


def test_files_of_a_day_that_never_was_published_go_once_its_attempt_is_old(
    lake: MergedLake,
) -> None:
    append(lake, "planned", "leased", "failed", unit=f"solicit/reviews/{day(0)}", error="no disk")
    lake.put(some(1, program="reviews"))
    assert told(cleaned(lake, 6))["orphan", "kept"][0] == 1
    assert told(cleaned(lake, 8))["orphan", "removed"][0] == 1
    last = ledger_of(lake).last(f"solicit/reviews/{day(0)}")
    assert last is not None
    assert (last.event, last.attempt, last.details["error"]) == ("failed", 1, "no disk")


def test_files_of_all_types_of_a_day_go_at_once(lake: MergedLake) -> None:
    append(lake, "planned", "leased", "failed", unit=f"solicit/reviews/{day(0)}", error="no disk")
    for record in (TYPE, "rejection"):
        lake.put([File(record, day(0), "x", (1,), program="reviews")])
    with LocalEngine(1) as engine:
        found = clean(lake.environment, (TYPE, "rejection"), engine, clock=later(8))
    assert [line.fate for share in found for line in share.lines] == ["removed", "removed"]
    assert keys(lake, "fragments") == []


@pytest.mark.parametrize("top", ["merged", "archive"])
def test_half_written_files_go(merged: MergedLake, top: str) -> None:
    folder = Path(merged.root, keys(merged, top)[-1]).parent
    half = folder / "x.avro#1"
    half.write_bytes(b"half")
    assert told(cleaned(merged, 6))["half-written", "kept"][0] == 1
    assert half.exists()
    assert told(cleaned(merged))["half-written", "removed"][0] == 1
    assert not half.exists()


# --- races and interruptions ----------------------------------------------------------------------


def _late_merge(lake: MergedLake) -> None:
    lake.put([File(TYPE, day(5), "late", (77,))])
    merge(lake, "daily")


@pytest.mark.parametrize(
    "meanwhile", [_late_merge, lambda lake: append(lake, "planned")], ids=["merged", "taken"]
)
def test_nothing_goes_once_another_run_wrote_to_the_ledger(
    merged: MergedLake, meanwhile: Callable[[MergedLake], object]
) -> None:
    shares = [share for share in _looked(merged) if share.removes]
    assert len(shares) == 1
    meanwhile(merged)
    before = keys(merged, "merged", "archive", "fragments")
    (done,) = remove(merged.storage, ledger_of(merged), shares, "cleaner")
    assert {line.fate for line in done.lines} == {"kept"}
    assert all("expected to be the next to write" in line.why for line in done.lines)
    assert keys(merged, "merged", "archive", "fragments") == before


def test_half_written_files_stay_once_another_run_wrote_to_the_ledger(merged: MergedLake) -> None:
    cleaned(merged)
    half = Path(merged.root, keys(merged, "merged")[0]).with_name("x.avro#1")
    half.write_bytes(b"half")
    shares = _looked(merged)
    append(merged, "planned")
    (done,) = remove(merged.storage, ledger_of(merged), shares, "cleaner")
    assert [line.fate for line in done.lines] == ["kept"]
    assert half.exists()


def test_of_a_failed_attempt_nothing_goes_once_the_next_has_begun(lake: MergedLake) -> None:
    """The next one writes the same keys, so it would lose what it has just written."""
    _orphans(lake, "failed")
    shares = _looked(lake)
    append(lake, "planned", "leased", "progressed", run="next", location=PLACE)
    (done,) = remove(lake.storage, ledger_of(lake), shares, "cleaner")
    assert [line.fate for line in done.lines] == ["kept"]
    assert len(keys(lake, "merged")) == 1


def test_the_unit_of_a_failed_attempt_is_held_while_its_files_go(
    lake: MergedLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    _orphans(lake, "failed")
    shares = _looked(lake)
    seen: list[tuple[str, str]] = []

    def delete(self: Storage, keys: Any) -> None:
        last = ledger_of(lake).last(MERGE)
        assert last is not None
        seen.extend((last.event, last.run) for _ in keys)

    monkeypatch.setattr(Storage, "delete", delete)
    remove(lake.storage, ledger_of(lake), shares, "cleaner")
    assert seen == [("planned", "cleaner")] * 2


def test_when_the_storage_breaks_the_next_run_goes_on(
    merged: MergedLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    _orphans(merged, "failed")
    gone = {k for k in keys(merged, "merged", "archive") if "/g000002-" not in k}
    delete, left = Storage.delete, [2]

    def breaking(self: Storage, keys: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise StorageFailed(self.root, "x", "broken")
        delete(self, keys)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "delete", breaking)
        with pytest.raises(StorageFailed):
            cleaned(merged)
    last = ledger_of(merged).last(MERGE)
    assert last is not None
    assert last.event == "failed"
    assert set() < gone & {*merged.tree()} < gone
    cleaned(merged)
    assert gone & {*merged.tree()} == set()
    assert cleaned(merged) == ()
