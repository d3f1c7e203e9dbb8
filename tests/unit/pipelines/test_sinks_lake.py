from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import fastavro
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.batch import Batch
from pipelines.context import RunContext
from pipelines.failure import FAILURES, Failure
from pipelines.lake import LakeSettings, Receipt
from pipelines.sinks import lake as module
from pipelines.sinks.lake import WriteFragments
from pipelines.tables import RejectionTable
from pipelines.tally import TALLIES
from schemas.registry import record_type
from transforms.kernel import ROW, UnitContext

DAYS = ("2017-03-01", "2017-03-02")
Rejected = Callable[[list[tuple[int, str]]], pl.DataFrame]


class Written:
    """What a sink gave, by kind."""

    def __init__(self, outputs: Sequence[Any]) -> None:
        values = [getattr(each, "value", each) for each in outputs]
        tagged = [each for each in outputs if isinstance(each, beam.pvalue.TaggedOutput)]
        self.failures = [_plain(each.value) for each in tagged if each.tag == FAILURES]
        self.tallies = [_plain(each.value) for each in tagged if each.tag == TALLIES]
        self.receipts = sorted(
            (
                value[1]
                for value in values
                if isinstance(value, tuple) and isinstance(value[1], Receipt)
            ),
            key=lambda receipt: receipt.key,
        )


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)


def write(
    settings: LakeSettings,
    context: RunContext,
    bundles: Sequence[Sequence[Batch]],
    table: Any = None,
    threads: int = 2,
) -> Written:
    sink = WriteFragments(
        settings, record_type("rejection"), table or RejectionTable(), context, threads
    )
    sink.setup()
    outputs: list[Any] = []
    for bundle in bundles:
        sink.start_bundle()
        for batch in bundle:
            outputs += sink.process(batch)
        outputs += sink.finish_bundle()
    sink.teardown()
    return Written(outputs)


def batches(rejected: Rejected, unit: str, split: int, sizes: Sequence[int]) -> list[Batch]:
    made, first = [], 0
    for number, size in enumerate(sizes):
        frame = rejected([(first + n, "TOO_CHEAP") for n in range(size)])
        made.append(Batch(unit, split, True, number == len(sizes) - 1, frame))
        first += size
    return made


def rows(settings: LakeSettings, receipt: Receipt) -> list[int]:
    with Path(settings.root, receipt.key).open("rb") as file:
        return [record["sourceRow"] for record in fastavro.reader(file)]


def test_a_split_becomes_a_fragment_that_another_reader_reads(
    lake: LakeSettings, context: RunContext, rejected: Rejected
) -> None:
    found = write(lake, context, [batches(rejected, DAYS[0], 3, [2, 0, 3])])
    (receipt,) = found.receipts
    data = Path(lake.root, receipt.key).read_bytes()
    assert rows(lake, receipt) == [0, 1, 2, 3, 4]
    digest = hashlib.sha256(data).hexdigest()
    assert (receipt.rows, receipt.size, receipt.sha256) == (5, len(data), digest)
    assert receipt.key == f"fragments/rejection/reviews/{DAYS[0]}/00003-000-{digest[:16]}.avro"
    assert found.failures == []
    assert sum(tally["stage", "write rejections", "in"] for _, tally in found.tallies) == 5


def test_a_split_without_rows_writes_nothing(
    lake: LakeSettings, context: RunContext, rejected: Rejected
) -> None:
    found = write(lake, context, [batches(rejected, DAYS[0], 0, [0])])
    assert (found.receipts, found.failures) == ([], [])
    assert not Path(lake.root, "fragments").exists()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_fragments_are_the_same_however_batches_are_bundled(
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
    context: RunContext,
    rejected: Rejected,
) -> None:
    """Splits keep their order; which come together, and in how many bundles, does not matter."""
    sizes = st.lists(st.integers(0, 5), min_size=1, max_size=4)
    splits = [
        batches(rejected, unit, split, data.draw(sizes)) for unit in DAYS for split in range(2)
    ]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "FRAGMENT_ROWS", 4)
        roots = [LakeSettings(str(tmp_path_factory.mktemp("l")), "null", "00" * 16) for _ in "ab"]
        one = write(roots[0], context, [[each for split in splits for each in split]])
        order = data.draw(st.permutations(splits))
        cuts = data.draw(st.lists(st.booleans(), min_size=len(order), max_size=len(order)))
        bundles: list[list[Batch]] = [[]]
        for split, cut in zip(order, cuts, strict=True):
            if cut:
                bundles.append([])
            bundles[-1] += split
        other = write(roots[1], context, bundles, threads=data.draw(st.integers(1, 3)))
    assert one.receipts == other.receipts
    assert sum(receipt.rows for receipt in one.receipts) == sum(
        each.frame.height for split in splits for each in split
    )


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_splits_that_come_interleaved_are_kept_apart(
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
    context: RunContext,
    rejected: Rejected,
) -> None:
    splits = [batches(rejected, unit, 0, [1, 2, 0, 3]) for unit in DAYS]
    turns = data.draw(st.permutations([0] * 4 + [1] * 4))
    iterators = [iter(split) for split in splits]
    mixed = [next(iterators[turn]) for turn in turns]
    settings = LakeSettings(str(tmp_path_factory.mktemp("l")), "null", "00" * 16)
    found = write(settings, context, [mixed])
    assert [rows(settings, receipt) for receipt in found.receipts] == [[0, 1, 2, 3, 4, 5]] * 2


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([4, 1], [4, 1]), ([3, 3, 3, 1], [6, 4]), ([4, 0], [4]), ([9], [9]), ([2, 2, 2], [4, 2])],
)
def test_a_fragment_ends_with_the_batch_that_fills_it(
    monkeypatch: pytest.MonkeyPatch,
    lake: LakeSettings,
    context: RunContext,
    rejected: Rejected,
    sizes: list[int],
    expected: list[int],
) -> None:
    monkeypatch.setattr(module, "FRAGMENT_ROWS", 4)
    found = write(lake, context, [batches(rejected, DAYS[0], 0, sizes)])
    assert [receipt.rows for receipt in found.receipts] == expected
    names = [Path(receipt.key).name[:9] for receipt in found.receipts]
    assert names == [f"00000-{part:03d}" for part in range(len(expected))]
    assert [row for r in found.receipts for row in rows(lake, r)] == list(range(sum(sizes)))


def fails_on(unit: str) -> Any:
    def table(frame: pl.DataFrame, context: UnitContext, split: int) -> pa.Table:
        if context.unit == unit:
            raise ValueError("cannot be encoded")
        return RejectionTable()(frame, context, split)

    return table


def test_a_batch_that_cannot_be_encoded_fails_its_unit_alone(
    lake: LakeSettings, context: RunContext, rejected: Rejected
) -> None:
    mixed = [each for unit in DAYS for each in batches(rejected, unit, 0, [2, 2])]
    found = write(lake, context, [mixed], fails_on(DAYS[0]))
    assert [r.key.split("/")[3] for r in found.receipts] == [DAYS[1]]
    assert found.failures == [Failure(DAYS[0], "write", "ValueError", "cannot be encoded")]


def test_a_split_whose_end_never_comes_leaves_nothing_behind(
    lake: LakeSettings, context: RunContext, rejected: Rejected
) -> None:
    begun = batches(rejected, DAYS[0], 0, [2, 2])[:1]
    found = write(lake, context, [begun, batches(rejected, DAYS[0], 0, [1])])
    assert [receipt.rows for receipt in found.receipts] == [1]


def test_writing_the_same_again_overwrites_itself(
    lake: LakeSettings, context: RunContext, rejected: Rejected
) -> None:
    bundle = batches(rejected, DAYS[0], 0, [3])
    first, second = (write(lake, context, [bundle]).receipts for _ in range(2))
    assert first == second
    assert len(list(Path(lake.root, "fragments").rglob("*.avro"))) == 1


def test_two_lakes_of_one_key_have_the_same_bytes_and_of_two_keys_other_ones(
    tmp_path: Path, context: RunContext, rejected: Rejected
) -> None:
    def digest(name: str, key: str | None) -> str:
        settings = LakeSettings(str(tmp_path / name), "null", key)
        return write(settings, context, [batches(rejected, DAYS[0], 0, [3])]).receipts[0].sha256

    assert digest("a", "00" * 16) == digest("b", "00" * 16)
    assert len({digest("c", None), digest("d", None), digest("a", None)}) == 3
    assert digest("a", "11" * 16) == digest("b", "00" * 16), "a lake keeps the key it was made with"


def test_the_step_gives_receipts_tallies_and_failures_of_a_pipeline(
    lake: LakeSettings, context: RunContext, rejected: Rejected, pipeline: Any
) -> None:
    from apache_beam.testing.util import assert_that, equal_to

    made = [each for unit in DAYS for each in batches(rejected, unit, 0, [1, 2])]
    sink = WriteFragments(lake, record_type("rejection"), fails_on(DAYS[0]), context, 2)
    found = (
        pipeline | beam.Create(made) | beam.ParDo(sink).with_outputs(TALLIES, FAILURES, main="r")
    )
    units = found["r"] | beam.Map(lambda each: (each[0], each[1].rows))
    assert_that(units, equal_to([(DAYS[1], 3)]), label="receipts")
    failed = found[FAILURES] | "failed" >> beam.Map(lambda failure: failure.unit)
    assert_that(failed, equal_to([DAYS[0]]), label="failures")
    counted = (
        found[TALLIES]
        | "count" >> beam.Map(lambda each: each[1]["stage", "write rejections", "in"])
        | beam.CombineGlobally(sum)
    )
    assert_that(counted, equal_to([6]), label="tallies")
    assert ROW == "_row"
