"""What a merge is taken to need: known from the sizes of its files."""

from __future__ import annotations

from conf.prices import PriceTable, Usage
from jobs.backfill.plan import Predicted
from pipelines.merging.parts import total
from pipelines.merging.plan import MergePlan
from pipelines.merging.survey import Partition

#: Records of the ledger for a merge: planned, leased, progressed, published, succeeded.
_RECORDS = 5
#: Bytes of an upload's part, and bytes that one worker merges in a second.
_PART, _RATE = 16 << 20, 200e6
#: Requests to archive a fragment: two looks, a copy, a look; and what a catalog's pointer needs.
_ARCHIVE_GETS, _POINTER = 3, 2


def predicted(partition: Partition, made: MergePlan, prices: PriceTable) -> Predicted:
    """Return what a month's merge is taken to need, priced.

    ``bytes`` are those written; what the storage copies by itself is not among them, and neither
    are its seconds.
    """
    rows = sum(f.records or 0 for f in made.taken)
    outputs = [output for output in made.outputs if any(p.fragment for p in output.pieces)]
    parts = sum(1 + output.size // _PART for output in made.outputs)
    puts = _RECORDS + _POINTER + parts + len(made.taken) + 2 * len(made.carried)
    puts += len(made.outputs)
    gets = (1 + _ARCHIVE_GETS) * len(made.taken) + len(partition.files) + 2 * len(made.carried)
    written = total(outputs)
    seconds = round(written / _RATE, 3)
    usd = prices.price(Usage(puts=puts, gets=gets, worker_seconds=seconds))
    return Predicted(rows=rows, bytes=written, puts=puts, gets=gets, seconds=seconds, usd=usd)
