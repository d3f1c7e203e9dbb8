"""The balance sheet of a unit: every row read is accounted for, or nothing is published."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipelines import tally
from pipelines.errors import Unbalanced
from pipelines.lake import RECORD_TYPES, Receipt
from pipelines.tally import Tally


def balance_document(counted: Tally) -> dict[str, Any]:
    """Return the balance of a tally as JSON: no seconds in it, so it is the same on every rerun."""
    rejected = sorted((k[1:], n) for k, n in counted.items() if k[0] == tally.REJECTED)
    return {
        "read": counted[tally.READ],
        "written": counted[tally.WRITTEN],
        "deduplicated": counted[tally.DEDUPLICATED],
        "quarantined": counted[tally.QUARANTINED],
        "rejected": [
            {"filterType": kind, "filterId": name, "reasonCode": code, "count": count}
            for (kind, name, code), count in rejected
        ],
    }


def check_balance(unit: str, counted: Tally, receipts: Iterable[Receipt]) -> None:
    """Check that every row read is accounted for, and that the lake holds what was counted.

    Raises:
        Unbalanced: rows went missing or came twice.
    """
    balance = balance_document(counted)
    turned_away = sum(line["count"] for line in balance["rejected"]) + balance["deduplicated"]
    accounted = balance["written"] + turned_away + balance["quarantined"]
    if accounted != balance["read"]:
        raise Unbalanced(unit, balance["read"], accounted)
    in_lake = dict.fromkeys(RECORD_TYPES, 0)
    for receipt in receipts:
        in_lake[receipt.record_type] += receipt.rows
    expected = (balance["written"], turned_away)
    if (in_lake["candidate"], in_lake["rejection"]) != expected:
        raise Unbalanced(unit, sum(expected), in_lake["candidate"] + in_lake["rejection"])
