"""Dropping the rows that keyed work decided against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from conf.program import Capacity, FilterType
from transforms.kernel import Split, UnitContext, rejections
from transforms.keyed import DUPLICATE

#: Column of the verdicts: 0 keep, 1 duplicate, 2 over capacity (UInt8).
VERDICT = "_verdict"
#: What rejections call a duplicate; it is counted apart in the balance sheet.
DUPLICATE_CODE = "DUPLICATE_IN_WINDOW"


@dataclass(frozen=True, slots=True)
class DropLosers:
    """Takes out duplicates and rows over capacity; ``_verdict`` is dropped.

    Reads ``_verdict``. Duplicates are told as rejections of type DEDUPE, so that they can be
    explained too. Source: solicitation-platform, property 29 and filter type CAPACITY.
    """

    capacity: Capacity | None
    name: ClassVar[str] = "dedupe"

    def __call__(self, frame: pl.DataFrame, context: UnitContext) -> Split:  # noqa: ARG002
        """Split by verdict."""
        verdict, passed = pl.col(VERDICT), frame.filter(pl.col(VERDICT) == 0).drop(VERDICT)
        lost = frame.filter(verdict != 0)
        duplicate = verdict == DUPLICATE
        capacity = self.capacity

        def either(of_duplicate: str, of_capacity: str | None) -> pl.Expr:
            return pl.when(duplicate).then(pl.lit(of_duplicate)).otherwise(pl.lit(of_capacity))

        return Split(
            passed,
            rejections(
                lost,
                filter_id=either("dedupe", capacity.filter_id if capacity else None),
                filter_type=either("DEDUPE", FilterType.CAPACITY.value),
                reason=either(
                    "the same customer and subject came before it within the window",
                    f"the customer has {capacity.per_customer} better candidates in the unit"
                    if capacity
                    else None,
                ),
                reason_code=either(DUPLICATE_CODE, capacity.reason_code if capacity else None),
            ),
        )
