from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from conf.program import Program
from pipelines.balance import balance_document, check_balance
from pipelines.context import RunContext
from pipelines.errors import Fenced, PipelineError, Unbalanced
from pipelines.failure import Failure
from pipelines.lake import Lake, LakeSettings, Receipt
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Record
from pipelines.publish import PublishUnits
from pipelines.publisher import Promise, Publication, Publisher
from pipelines.sinks.stores import open_store
from pipelines.storage import Storage
from pipelines.tables import CandidateTable, RejectionTable
from pipelines.tally import (
    DEDUPLICATED,
    QUARANTINED,
    READ,
    REJECTED,
    WRITTEN,
    Tally,
    tallies_of,
)
from schemas.registry import record_type
from transforms.kernel import ROW

UNIT = "2017-03-01"
CHEAP = (REJECTED, "QUALITY", "worth-it", "TOO_CHEAP")
COUNTED: Tally = Counter({READ: 4, WRITTEN: 2, DEDUPLICATED: 1, CHEAP: 1})


NAME = f"solicit/reviews/{UNIT}"


@pytest.fixture
def publication(tmp_path: Path, lake: LakeSettings, context: RunContext) -> Publication:
    store = f"sqlite:///{tmp_path / 'candidates.sqlite'}"
    promises = {UNIT: Promise({"rows/2017-03-01": ["1", 4, None]})}
    about = {"settings": "s", "code": "c"}
    return Publication(lake, store, "worth", 0.25, context, {}, promises, about)


def ledger_of(publication: Publication) -> Ledger:
    return Ledger(Storage(publication.lake.root))


def leased(publication: Publication, run: str = "mine", fingerprint: str = "f") -> Publication:
    """The publication with the next lease of the unit."""
    ledger = ledger_of(publication)
    last = ledger.last(NAME)
    planned = ledger.append(last, "planned", unit=NAME, run=run, fingerprint=fingerprint, plan="p")
    return replace(publication, leases={UNIT: ledger.go_on(planned, "leased")})


def candidates(values: list[float]) -> pl.DataFrame:
    count = len(values)
    return pl.DataFrame(
        {
            ROW: pl.Series(range(count), dtype=pl.UInt32),
            "customerId": [f"c{n}" for n in range(count)],
            "subjectType": "product",
            "subjectId": [f"p{n}" for n in range(count)],
            "marketplace": "US",
            "eventDate": pl.Series([f"{UNIT}T00:00:00Z"] * count).str.to_datetime(
                time_unit="ms", time_zone="UTC"
            ),
            "orderValue": values,
            "score.worth": [0.5] * count,
            "confidence.worth": [1.0] * count,
            "scoreSource.worth": "model",
            "channel.email": True,
        }
    )


@pytest.fixture
def receipts(program: Any, context: RunContext, lake: LakeSettings, rejected: Any) -> list[Receipt]:
    lost = rejected([(2, "TOO_CHEAP"), (3, "DUPLICATE_IN_WINDOW")])
    return written(program(), context, lake, candidates([1.0, 2.0]), lost)


def written(
    program: Program,
    context: RunContext,
    settings: LakeSettings,
    passed: pl.DataFrame,
    lost: pl.DataFrame,
) -> list[Receipt]:
    lake, unit = Lake(settings), context.unit(UNIT)
    tables = {
        "candidate": CandidateTable(program, program.data_connectors[0])(passed, unit, 0),
        "rejection": RejectionTable()(lost, unit, 0),
    }
    return [
        lake.write_fragment(
            record_type(name),
            f"reviews/{UNIT}",
            "00000-000",
            [lake.encoder(record_type(name)).encode(table)],
            table.num_rows,
        )
        for name, table in tables.items()
    ]


@contextmanager
def publisher(publication: Publication) -> Iterator[PublishUnits]:
    made = PublishUnits(publication)
    made.setup()
    try:
        yield made
    finally:
        made.teardown()


def publish(
    publication: Publication,
    receipts: list[Receipt],
    *tallies: Tally,
    failed: tuple[Failure, ...] = (),
) -> Record:
    """Publish the unit, under a new lease if it has none, and return its latest record."""
    if not publication.leases:
        publication = leased(publication)
    grouped = {"tallied": tallies or (COUNTED,), "received": receipts, "failed": failed}
    with publisher(publication) as made:
        assert list(made.process((UNIT, {**grouped, "planned": [UNIT]}))) == [UNIT]
    last = ledger_of(publication).last(NAME)
    assert last is not None
    return last


def visible(publication: Publication) -> Record | None:
    ledger = ledger_of(publication)
    last = ledger.last(NAME)
    return None if last is None else ledger.publication(last)


def fragments(publication: Publication, kind: str = "candidate") -> set[str]:
    folder = Path(publication.lake.root, f"fragments/{kind}/reviews/{UNIT}")
    return {path.name for path in folder.iterdir()}


def stored(publication: Publication) -> list[Any]:
    assert publication.store_url is not None
    with open_store(publication.store_url, write=False, ranked_by="worth") as store:
        return [item for n in range(9) for item in store.by_customer(f"c{n}").items]


def test_a_unit_in_balance_is_published(publication: Publication, receipts: list[Receipt]) -> None:
    last = publish(publication, receipts)
    assert (last.event, last.attempt, last.fresh) == ("succeeded", 1, True)
    assert last.details["balance"] == {
        "read": 4,
        "written": 2,
        "deduplicated": 1,
        "quarantined": 0,
        "rejected": [
            {
                "filterType": "QUALITY",
                "filterId": "worth-it",
                "reasonCode": "TOO_CHEAP",
                "count": 1,
            }
        ],
    }
    published = visible(publication)
    assert published is not None
    assert published.details["balance"] == last.details["balance"] == balance_document(COUNTED)
    keys = [fragment["key"] for fragment in published.details["fragments"]]
    assert keys == sorted(receipt.key for receipt in receipts)
    assert published.details["inputs"] == {"rows/2017-03-01": ["1", 4, None]}
    assert (published.details["settings"], published.details["code"]) == ("s", "c")
    assert tallies_of(published.details) == COUNTED
    assert len(stored(publication)) == 2
    events = [record.event for record in ledger_of(publication).history(NAME)]
    assert events == ["planned", "leased", "published", "succeeded"]


def test_tallies_add_up_in_any_order(publication: Publication, receipts: list[Receipt]) -> None:
    parts = [Counter({key: 1}) for key, n in COUNTED.items() for _ in range(n)]
    assert publish(publication, receipts, *reversed(parts)).event == "succeeded"


@pytest.mark.parametrize(
    "change",
    [{READ: 1}, {READ: -1}, {WRITTEN: 1}, {CHEAP: -1}, {DEDUPLICATED: 1}, {QUARANTINED: 1}],
)
def test_a_unit_out_of_balance_is_not_published(
    publication: Publication, receipts: list[Receipt], change: dict[Any, int]
) -> None:
    counted = Counter(COUNTED)
    counted.update(change)
    last = publish(publication, receipts, counted)
    assert last.event == "failed"
    assert "to be accounted for" in last.details["error"]
    assert last.details["transient"] is False
    assert tallies_of(last.details) == counted
    assert visible(publication) is None
    assert stored(publication) == []


def test_rows_counted_as_written_must_be_in_the_lake(
    publication: Publication, receipts: list[Receipt]
) -> None:
    for missing in ("candidate", "rejection"):
        kept = [receipt for receipt in receipts if receipt.record_type != missing]
        with pytest.raises(Unbalanced):
            check_balance(UNIT, COUNTED, kept)
        assert publish(publication, kept).event == "failed"
    with pytest.raises(Unbalanced):
        check_balance(UNIT, COUNTED, [*receipts, receipts[0]])
    assert visible(publication) is None


def test_a_candidate_too_many_does_not_make_up_for_a_rejection_missing() -> None:
    found = [Receipt("candidate", "a", 3, 1, ""), Receipt("rejection", "b", 1, 1, "")]
    with pytest.raises(Unbalanced):
        check_balance(UNIT, COUNTED, found)


@pytest.mark.parametrize("transient", [(True, True, False), (True, True, True)])
def test_a_failed_unit_is_not_published(
    publication: Publication, receipts: list[Receipt], transient: tuple[bool, ...]
) -> None:
    """It may be tried again when every failure may pass."""
    failures = (
        Failure(UNIT, "transform", "FilterFailed", "b broke", transient[2]),
        Failure(UNIT, "read", "WarehouseFailed", "a broke", transient[0]),
        Failure(UNIT, "read", "WarehouseFailed", "a broke", transient[1]),
    )
    last = publish(publication, receipts, failed=failures)
    assert last.event == "failed"
    assert last.details["error"] == "read: a broke (and 1 more, see the log)"
    assert last.details["transient"] is all(transient)
    assert visible(publication) is None
    assert stored(publication) == []


@pytest.mark.parametrize(("rows", "event"), [(1, "succeeded"), (2, "failed")])
def test_too_much_in_quarantine_fails_the_unit(
    publication: Publication, receipts: list[Receipt], rows: int, event: str
) -> None:
    """The threshold is a fifth of what was read."""
    counted = Counter(COUNTED) + Counter({READ: rows, QUARANTINED: rows})
    last = publish(replace(publication, quarantine_threshold=0.2), receipts, counted)
    assert last.event == event
    if event == "failed":
        assert "at most 20.00%" in last.details["error"]
        assert "33.33% (2 rows)" in last.details["error"]
        assert visible(publication) is None


@pytest.mark.parametrize(("planned", "event"), [(4, "succeeded"), (5, "failed"), (3, "failed")])
def test_other_rows_than_were_planned_fail_the_unit(
    publication: Publication, receipts: list[Receipt], planned: int, event: str
) -> None:
    promised = replace(publication, promises={UNIT: Promise({}, planned)})
    last = publish(promised, receipts)
    assert last.event == event
    if event == "failed":
        assert f"expected {planned} as planned, found 4; plan again" in last.details["error"]
        assert visible(publication) is None


def test_a_unit_without_rows_is_published(publication: Publication) -> None:
    last = publish(publication, [], Counter())
    assert (last.event, last.details["fragments"]) == ("succeeded", [])
    assert last.details["balance"]["read"] == 0
    assert stored(publication) == []


def test_publishing_the_same_again_changes_nothing_but_the_attempt(
    publication: Publication, receipts: list[Receipt]
) -> None:
    publish(publication, receipts)
    before, kept = stored(publication), fragments(publication)
    again = publish(publication, list(reversed(receipts)))
    assert (again.event, again.attempt, again.details["changed"]) == ("succeeded", 2, False)
    assert (stored(publication), fragments(publication)) == (before, kept)


def reprocessed(program: Any, context: RunContext, lake: LakeSettings, rejected: Any) -> Any:
    """Other content for the unit: one candidate fewer and one changed, one rejection more."""
    lost = rejected([(1, "TOO_CHEAP"), (2, "TOO_CHEAP"), (3, "DUPLICATE_IN_WINDOW")])
    made = written(program(), context, lake, candidates([7.0]), lost)
    return made, Counter({READ: 4, WRITTEN: 1, DEDUPLICATED: 1, CHEAP: 2})


def test_other_content_replaces_what_was_published(
    publication: Publication, receipts: list[Receipt], program: Any, context: Any, rejected: Any
) -> None:
    publish(publication, receipts)
    made, counted = reprocessed(program, context, publication.lake, rejected)
    assert len(fragments(publication)) == 2
    last = publish(publication, made, counted)
    assert (last.event, last.details["changed"]) == ("succeeded", True)
    published = visible(publication)
    assert published is not None
    assert published.details["replaces"] == 3
    named = {Path(r.key).name for r in made if r.record_type == "candidate"}
    assert fragments(publication) == named
    (item,) = stored(publication)
    assert (item["attributes"]["orderValue"], item["metadata"]["version"]) == (7.0, 2)


@pytest.mark.parametrize("at", ["store", "fragments", "record"])
def test_a_run_that_dies_after_publishing_is_completed_by_the_next(
    publication: Publication,
    receipts: list[Receipt],
    program: Any,
    context: Any,
    rejected: Any,
    monkeypatch: pytest.MonkeyPatch,
    at: str,
) -> None:
    """From the record alone: the rows are not read again."""
    from pipelines import publisher as module
    from pipelines.lake import Lake as OpenLake
    from pipelines.ledger.ledger import Ledger as OpenLedger
    from pipelines.sinks.sqlite_store import SqliteStore

    publish(publication, receipts)
    made, counted = reprocessed(program, context, publication.lake, rejected)
    mine = leased(publication)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    place: Any = {
        "store": (SqliteStore, "apply"),
        "fragments": (OpenLake, "tidy"),
        "record": (OpenLedger, "append"),
    }[at]
    opened = module.Publisher(mine)
    published = opened.publish(UNIT, counted, made)
    with monkeypatch.context() as patched:
        patched.setattr(*place, killed)
        with pytest.raises(KeyboardInterrupt):
            opened.finish(published)
    opened.close()
    last = ledger_of(publication).last(NAME)
    assert last is not None
    assert (last.event, last.completed) == ("published", False)

    successor = leased(publication, run="successor")
    opened = module.Publisher(successor)
    done = opened.finish(successor.leases[UNIT])
    opened.close()
    assert (done.event, done.fresh, done.attempt) == ("succeeded", True, 3)
    assert len(fragments(publication)) == 1
    (item,) = stored(publication)
    assert (item["attributes"]["orderValue"], item["metadata"]["version"]) == (7.0, 2)


def test_completing_says_what_was_published_and_not_what_it_is_completed_for(
    publication: Publication, receipts: list[Receipt]
) -> None:
    """A unit that was made of other inputs than are wanted now must not count as up to date."""
    opened = Publisher(leased(publication))
    opened.publish(UNIT, COUNTED, receipts)
    opened.close()
    successor = leased(publication, run="successor", fingerprint="of other inputs")
    opened = Publisher(successor)
    done = opened.finish(successor.leases[UNIT])
    opened.close()
    assert (done.event, done.fingerprint) == ("succeeded", "f")


def test_a_worker_that_was_taken_over_cannot_publish(
    publication: Publication, receipts: list[Receipt], program: Any, context: Any, rejected: Any
) -> None:
    zombie = leased(publication, run="zombie")
    made, counted = reprocessed(program, context, publication.lake, rejected)
    successor = leased(publication, run="successor")
    after = publish(successor, made, counted)
    before = (stored(publication), fragments(publication))
    assert publish(zombie, receipts) == after
    assert (stored(publication), fragments(publication)) == before


def test_a_worker_that_was_taken_over_while_completing_changes_nothing(
    publication: Publication, receipts: list[Receipt], program: Any, context: Any, rejected: Any
) -> None:
    """It had published, and goes on after its successors have completed and replaced the unit."""
    zombie = Publisher(leased(publication, run="zombie"))
    published = zombie.publish(UNIT, COUNTED, receipts)
    successor = leased(publication, run="successor")
    completing = Publisher(successor)
    completing.finish(successor.leases[UNIT])
    completing.close()
    made, counted = reprocessed(program, context, publication.lake, rejected)
    publish(publication, made, counted)
    before = (stored(publication), fragments(publication))
    with pytest.raises(PipelineError):
        zombie.finish(published)
    zombie.close()
    assert (stored(publication), fragments(publication)) == before


def test_a_worker_that_sleeps_after_the_store_leaves_its_successors_fragments(
    publication: Publication,
    receipts: list[Receipt],
    program: Any,
    context: Any,
    rejected: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It wakes up to tidy, when a later attempt has published other fragments."""
    from pipelines.sinks.sqlite_store import SqliteStore

    zombie = Publisher(leased(publication, run="zombie"))
    published = zombie.publish(UNIT, COUNTED, receipts)
    load = SqliteStore.apply
    named: set[str] = set()

    def sleeps(self: SqliteStore, *given: Any, **more: Any) -> Any:
        done = load(self, *given, **more)
        monkeypatch.setattr(SqliteStore, "apply", load)
        successor = leased(publication, run="successor")
        opened = Publisher(successor)
        opened.finish(successor.leases[UNIT])
        opened.close()
        made, counted = reprocessed(program, context, publication.lake, rejected)
        assert publish(publication, made, counted).event == "succeeded"
        named.update(Path(r.key).name for r in made if r.record_type == "candidate")
        return done

    monkeypatch.setattr(SqliteStore, "apply", sleeps)
    with pytest.raises(Fenced):
        zombie.finish(published)
    zombie.close()
    assert fragments(publication) == named
    assert ledger_of(publication).history(NAME)[-1].details["balance"]["written"] == 1


def test_two_workers_of_an_attempt_publish_once(
    publication: Publication, receipts: list[Receipt]
) -> None:
    """An engine may run a bundle twice."""
    mine = leased(publication)
    assert publish(mine, receipts).event == "succeeded"
    assert publish(mine, receipts).event == "succeeded"
    events = [record.event for record in ledger_of(publication).history(NAME)]
    assert events == ["planned", "leased", "published", "succeeded"]


def test_a_lost_store_is_filled_again_from_the_lake(
    publication: Publication, receipts: list[Receipt], tmp_path: Path
) -> None:
    publish(publication, receipts)
    before = stored(publication)
    for path in tmp_path.glob("candidates.sqlite*"):
        path.unlink()
    again = leased(publication)
    opened = Publisher(again)
    opened.finish(again.leases[UNIT])
    opened.close()
    assert stored(publication) == before


def test_fragments_of_another_attempt_are_removed_once_the_unit_is_published(
    publication: Publication, receipts: list[Receipt]
) -> None:
    folder = Path(publication.lake.root, f"fragments/candidate/reviews/{UNIT}")
    (folder / "00000-000-0123456789abcdef.avro").write_bytes(b"stray")
    (folder / "00000-000-0123456789abcdef.avro#1").write_bytes(b"half")
    other_day = folder.parent / "2017-03-02" / "00000-000-aa.avro"
    other_day.parent.mkdir()
    other_day.write_bytes(b"not mine")
    publish(publication, receipts)
    assert fragments(publication) == {
        Path(r.key).name for r in receipts if r.record_type == "candidate"
    }
    assert other_day.exists()


def test_strays_of_a_unit_that_fails_stay(
    publication: Publication, receipts: list[Receipt]
) -> None:
    """They may be those of what is published."""
    folder = Path(publication.lake.root, f"fragments/candidate/reviews/{UNIT}")
    (folder / "stray.avro").write_bytes(b"stray")
    publish(publication, receipts, Counter())
    assert (folder / "stray.avro").exists()


def test_without_a_store_the_lake_alone_is_published(
    publication: Publication, receipts: list[Receipt], tmp_path: Path
) -> None:
    assert publish(replace(publication, store_url=None), receipts).event == "succeeded"
    assert not (tmp_path / "candidates.sqlite").exists()


def test_a_store_that_refuses_leaves_the_unit_to_be_completed(
    publication: Publication, receipts: list[Receipt]
) -> None:
    assert publication.store_url is not None
    with open_store(publication.store_url, write=True, ranked_by="worth") as store:
        from schemas.codec import decode_file

        (mine,) = [r for r in receipts if r.record_type == "candidate"]
        frame = decode_file(Path(publication.lake.root, mine.key).read_bytes())
        store.apply(NAME, frame.head(1))
    last = publish(publication, receipts)
    assert (last.event, last.completed) == ("failed", False)
    assert UNIT in last.details["error"]


def test_a_balance_has_its_rejections_in_order() -> None:
    counted: Tally = Counter({(REJECTED, "B", "b", "X"): 1, (REJECTED, "A", "b", "Y"): 2})
    assert [line["filterType"] for line in balance_document(counted)["rejected"]] == ["A", "B"]
