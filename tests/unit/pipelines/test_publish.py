from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from conf.program import Program
from pipelines.context import RunContext
from pipelines.errors import Unbalanced
from pipelines.failure import Failure
from pipelines.lake import Lake, LakeSettings, Receipt
from pipelines.publish import Publication, PublishUnits, balance_document, check_balance
from pipelines.sinks.stores import open_store
from pipelines.tables import CandidateTable, RejectionTable
from pipelines.tally import DEDUPLICATED, QUARANTINED, READ, REJECTED, WRITTEN, Tally
from schemas.registry import record_type
from transforms.kernel import ROW

UNIT = "2017-03-01"
CHEAP = (REJECTED, "QUALITY", "worth-it", "TOO_CHEAP")
COUNTED: Tally = Counter({READ: 4, WRITTEN: 2, DEDUPLICATED: 1, CHEAP: 1})


@pytest.fixture
def publication(tmp_path: Path, lake: LakeSettings, context: RunContext) -> Publication:
    store = f"sqlite:///{tmp_path / 'candidates.sqlite'}"
    return Publication(lake, store, "worth", str(tmp_path / "outcomes"), 0.25, context)


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
) -> dict[str, Any]:
    """Publish the unit and return what was said of it."""
    grouped = {"tallied": tallies or (COUNTED,), "received": receipts, "failed": failed}
    with publisher(publication) as made:
        assert list(made.process((UNIT, {**grouped, "planned": [UNIT]}))) == [UNIT]
    return json.loads(Path(publication.outcomes, f"{UNIT}.json").read_text())


def marker(publication: Publication) -> Path:
    return Path(publication.lake.root, f"units/solicit/reviews/{UNIT}.json")


def stored(publication: Publication) -> list[Any]:
    assert publication.store_url is not None
    with open_store(publication.store_url, write=False, ranked_by="worth") as store:
        return [item for n in range(9) for item in store.by_customer(f"c{n}").items]


def test_a_unit_in_balance_is_published(publication: Publication, receipts: list[Receipt]) -> None:
    said = publish(publication, receipts)
    assert (said["status"], said["error"]) == ("published", None)
    assert said["balance"] == {
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
    document = json.loads(marker(publication).read_text())
    assert document["balance"] == said["balance"]
    assert [f["key"] for f in document["fragments"]] == sorted(r.key for r in receipts)
    assert document["configFingerprint"] == "f" * 64
    assert "microseconds" not in marker(publication).read_text()
    assert len(stored(publication)) == 2


def test_tallies_add_up_in_any_order(publication: Publication, receipts: list[Receipt]) -> None:
    parts = [Counter({key: 1}) for key, n in COUNTED.items() for _ in range(n)]
    assert publish(publication, receipts, *reversed(parts))["status"] == "published"


@pytest.mark.parametrize(
    "change",
    [{READ: 1}, {READ: -1}, {WRITTEN: 1}, {CHEAP: -1}, {DEDUPLICATED: 1}, {QUARANTINED: 1}],
)
def test_a_unit_out_of_balance_is_not_published(
    publication: Publication, receipts: list[Receipt], change: dict[Any, int]
) -> None:
    counted = Counter(COUNTED)
    counted.update(change)
    said = publish(publication, receipts, counted)
    assert said["status"] == "failed"
    assert "to be accounted for" in said["error"]
    assert not marker(publication).exists()
    assert stored(publication) == []


def test_rows_counted_as_written_must_be_in_the_lake(
    publication: Publication, receipts: list[Receipt]
) -> None:
    for missing in ("candidate", "rejection"):
        kept = [receipt for receipt in receipts if receipt.record_type != missing]
        with pytest.raises(Unbalanced):
            check_balance(UNIT, COUNTED, kept)
        assert publish(publication, kept)["status"] == "failed"
    with pytest.raises(Unbalanced):
        check_balance(UNIT, COUNTED, [*receipts, receipts[0]])
    assert not marker(publication).exists()


def test_a_candidate_too_many_does_not_make_up_for_a_rejection_missing() -> None:
    found = [Receipt("candidate", "a", 3, 1, ""), Receipt("rejection", "b", 1, 1, "")]
    with pytest.raises(Unbalanced):
        check_balance(UNIT, COUNTED, found)


def test_a_failed_unit_is_not_published(publication: Publication, receipts: list[Receipt]) -> None:
    failures = (
        Failure(UNIT, "transform", "FilterFailed", "b broke"),
        Failure(UNIT, "read", "WarehouseFailed", "a broke"),
        Failure(UNIT, "read", "WarehouseFailed", "a broke"),
    )
    said = publish(publication, receipts, failed=failures)
    assert (said["status"], said["error"]) == ("failed", "read: a broke (and 1 more, see the log)")
    assert not marker(publication).exists()
    assert stored(publication) == []


@pytest.mark.parametrize(("rows", "status"), [(1, "published"), (2, "failed")])
def test_too_much_in_quarantine_fails_the_unit(
    publication: Publication, receipts: list[Receipt], rows: int, status: str
) -> None:
    """The threshold is a quarter of what was read."""
    counted = Counter(COUNTED) + Counter({READ: rows, QUARANTINED: rows})
    told = replace(publication, quarantine_threshold=0.2)
    said = publish(told, receipts, counted)
    assert said["status"] == status
    if status == "failed":
        assert "at most 20.00%" in said["error"]
        assert "33.33% (2 rows)" in said["error"]
        assert not marker(publication).exists()


def test_a_unit_without_rows_is_published(publication: Publication) -> None:
    said = publish(publication, [], Counter())
    assert (said["status"], said["fragments"], said["balance"]["read"]) == ("published", 0, 0)
    assert json.loads(marker(publication).read_text())["fragments"] == []


def test_publishing_the_same_again_changes_nothing(
    publication: Publication, receipts: list[Receipt]
) -> None:
    publish(publication, receipts)
    before = marker(publication).read_bytes(), stored(publication)
    assert publish(publication, list(reversed(receipts)))["status"] == "unchanged"
    assert (marker(publication).read_bytes(), stored(publication)) == before


def test_other_content_of_a_published_unit_is_refused(
    publication: Publication, receipts: list[Receipt], context: RunContext
) -> None:
    publish(publication, receipts)
    before = marker(publication).read_bytes(), stored(publication)
    other = replace(publication, context=replace(context, config_fingerprint="e" * 64))
    said = publish(other, receipts)
    assert said["status"] == "failed"
    assert f"configFingerprint was '{'f' * 64}', is now '{'e' * 64}'" in said["error"]
    assert f"units/solicit/reviews/{UNIT}.json is published already" in said["error"]
    assert (marker(publication).read_bytes(), stored(publication)) == before


def test_other_rows_of_a_published_unit_are_refused(
    publication: Publication, receipts: list[Receipt]
) -> None:
    publish(publication, receipts)
    said = publish(publication, [replace(r, sha256="other") for r in receipts])
    assert said["status"] == "failed"
    assert "fragments was" in said["error"]


def test_a_crash_between_store_and_marker_is_mended_by_the_next_run(
    publication: Publication, receipts: list[Receipt], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines import storage

    def killed(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, publisher(publication) as made:
        patched.setattr(storage.Storage, "create", killed)
        grouped = {"tallied": [COUNTED], "received": receipts, "failed": []}
        with pytest.raises(KeyboardInterrupt):
            list(made.process((UNIT, grouped)))
    assert not marker(publication).exists()
    before = stored(publication)
    assert len(before) == 2
    assert publish(publication, receipts)["status"] == "published"
    assert stored(publication) == before


def test_a_lost_store_is_filled_again_by_the_same_run(
    publication: Publication, receipts: list[Receipt]
) -> None:
    publish(publication, receipts)
    before = stored(publication)
    assert publication.store_url is not None
    for path in Path(publication.outcomes).parent.glob("candidates.sqlite*"):
        path.unlink()
    assert publish(publication, receipts)["status"] == "unchanged"
    assert stored(publication) == before


def test_fragments_of_another_attempt_are_removed_before_the_unit_is_published(
    publication: Publication, receipts: list[Receipt]
) -> None:
    folder = Path(publication.lake.root, f"fragments/candidate/reviews/{UNIT}")
    (folder / "00000-000-0123456789abcdef.avro").write_bytes(b"stray")
    other_day = folder.parent / "2017-03-02" / "00000-000-aa.avro"
    other_day.parent.mkdir()
    other_day.write_bytes(b"not mine")
    publish(publication, receipts)
    assert [path.name for path in folder.iterdir()] == [
        Path(r.key).name for r in receipts if r.record_type == "candidate"
    ]
    assert other_day.exists()


def test_strays_of_a_unit_that_fails_stay(
    publication: Publication, receipts: list[Receipt]
) -> None:
    folder = Path(publication.lake.root, f"fragments/candidate/reviews/{UNIT}")
    (folder / "stray.avro").write_bytes(b"stray")
    publish(publication, receipts, Counter())
    assert (folder / "stray.avro").exists()


def test_without_a_store_the_lake_alone_is_published(
    publication: Publication, receipts: list[Receipt], tmp_path: Path
) -> None:
    assert publish(replace(publication, store_url=None), receipts)["status"] == "published"
    assert not (tmp_path / "candidates.sqlite").exists()


def test_a_store_that_refuses_fails_the_unit(
    publication: Publication, receipts: list[Receipt]
) -> None:
    assert publication.store_url is not None
    with open_store(publication.store_url, write=True, ranked_by="worth") as store:
        from schemas.codec import decode_file

        (mine,) = [r for r in receipts if r.record_type == "candidate"]
        frame = decode_file(Path(publication.lake.root, mine.key).read_bytes())
        store.apply(f"solicit/reviews/{UNIT}", frame.head(1))
    said = publish(publication, receipts)
    assert said["status"] == "failed"
    assert UNIT in said["error"]
    assert not marker(publication).exists()


def test_a_balance_has_its_rejections_in_order() -> None:
    counted: Tally = Counter({(REJECTED, "B", "b", "X"): 1, (REJECTED, "A", "b", "Y"): 2})
    assert [line["filterType"] for line in balance_document(counted)["rejected"]] == ["A", "B"]
