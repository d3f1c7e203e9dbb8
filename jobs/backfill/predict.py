"""What a unit is taken to need, from what units of the same program needed before."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from conf.environment import Estimates
from conf.prices import PriceTable, Usage
from jobs.backfill.plan import Predicted
from jobs.backfill.work import UnitInputs
from pipelines.ledger.record import Record

#: Units of the past that a prediction is made from.
SAMPLE = 30
#: Records of an attempt that succeeds: planned, leased, published, succeeded.
_RECORDS = 4
#: A candidate in a DynamoDB table with two indexes: an item of up to 2 KB, written three times.
_ITEM_BYTES, _COPIES = 2048, 3
_WRITE_UNIT_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Rates:
    """What a row that is read came to, on average; ``basis`` says where that is from."""

    written_per_row: float
    bytes_per_row: float
    fragments: float
    rows_per_second: float
    rows_per_byte: float | None
    basis: str


def rates(records: Iterable[Record], estimates: Estimates) -> Rates:
    """Return the rates of ``succeeded`` records, or the environment's estimates without any."""
    done = [r.details for r in records if r.event == "succeeded" and r.details["balance"]["read"]]
    if not done:
        return Rates(
            estimates.written_share,
            estimates.bytes_per_row,
            2.0,
            estimates.rows_per_second,
            None,
            "estimates of the environment: no unit of this program has been made yet",
        )
    rows = sum(said["balance"]["read"] for said in done)
    sizes = [sum(f["size"] for f in said["fragments"]) for said in done]
    read_bytes = sum(said.get("inputBytes", 0) for said in done)
    seconds = sum(said["seconds"] for said in done)
    return Rates(
        sum(said["balance"]["written"] for said in done) / rows,
        sum(sizes) / rows,
        sum(len(said["fragments"]) for said in done) / len(done),
        rows / seconds if seconds else estimates.rows_per_second,
        rows / read_bytes if read_bytes else None,
        f"{len(done)} units of this program that were made before",
    )


def predict(
    inputs: UnitInputs, of: Rates, prices: PriceTable, *, read_again: bool, split_bytes: int
) -> Predicted:
    """Return what one unit is taken to need, priced.

    Requests are those to the lake and to files that are read; write units are DynamoDB's, for one
    item a candidate with two indexes, and cost nothing where the table of prices says so.
    """
    rows = inputs.rows if inputs.rows is not None else _rows_of_files(inputs.size, of)
    files = [item for item in inputs.roles["reads"] if item.size is not None]
    ranges = sum(max(1, math.ceil((item.size or 0) / split_bytes)) for item in files)
    written = round(rows * of.written_per_row)
    predicted = Predicted(
        rows=rows,
        written=written,
        bytes=round(rows * of.bytes_per_row),
        puts=_RECORDS + math.ceil(of.fragments),
        # A header, a range and a look at the version each time that a range is read.
        gets=ranges * 3 * (2 if read_again else 1) + math.ceil(of.fragments),
        write_units=written * _COPIES * math.ceil(_ITEM_BYTES / _WRITE_UNIT_BYTES),
        seconds=round(rows / of.rows_per_second, 3),
    )
    return replace(predicted, usd=prices.price(usage(predicted, inputs.size)))


def usage(predicted: Predicted, scanned: int) -> Usage:
    """Return what is billed for."""
    return Usage(
        puts=predicted.puts,
        gets=predicted.gets,
        write_units=predicted.write_units,
        worker_seconds=predicted.seconds,
        scanned_bytes=scanned,
    )


def nearest(days: Sequence[str], wanted: Iterable[str]) -> list[str]:
    """Return the ``SAMPLE`` latest of ``days`` up to the last of ``wanted``: what is most alike.

    >>> nearest(["2017-01-01", "2017-01-02", "2017-02-01"], ["2017-01-05"])
    ['2017-01-01', '2017-01-02']
    """
    last = max(wanted, default="")
    before = [day for day in sorted(days) if day <= last]
    return (before or sorted(days))[-SAMPLE:]


def _rows_of_files(size: int, of: Rates) -> int:
    """Return how many rows files of ``size`` bytes are taken to hold; 100 bytes a row untold."""
    return round(size * (of.rows_per_byte if of.rows_per_byte is not None else 0.01))
