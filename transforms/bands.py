"""Bands: half-open tiers over a score."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from conf.program import Bands
from transforms.errors import ColumnTaken, MissingScore
from transforms.kernel import Split, UnitContext, nothing_rejected, rejections


@dataclass(frozen=True)
class Band:
    """Names the tier of each row's score; rows without a tier are rejected.

    Input: ``score.<id>`` (Float64). Output: ``band`` (String, never null). A tier reaches from its
    bound (included) to the next one's (excluded), the last one to 1.0 (included). Rejected with
    filter ``band``, type QUALITY: a score that is null, NaN or outside 0..1 as BAND_SCORE_INVALID,
    one under the first tier as BAND_BELOW_LOWEST. Rows keep their order.

    Raises ``MissingScore`` when the score was not computed and ``ColumnTaken`` when the frame has
    a ``band`` already.

    Source: requirements, trap 1.
    """

    bands: Bands

    @property
    def name(self) -> str:
        """The stage's name."""
        return "band"

    def __call__(self, frame: pl.DataFrame, context: UnitContext) -> Split:  # noqa: ARG002
        """Add ``band`` or reject."""
        column = f"score.{self.bands.score}"
        if column not in frame.columns:
            raise MissingScore(self.name, column, frame.columns)
        if "band" in frame.columns:
            raise ColumnTaken(self.name, ["band"])
        banded = frame.with_columns(band=self._tier(pl.col(column)))
        if not banded["band"].null_count():
            return Split(banded, nothing_rejected())
        without = banded.filter(pl.col("band").is_null())
        return Split(banded.drop_nulls("band"), self._rejections(without, pl.col(column)))

    def _tier(self, score: pl.Expr) -> pl.Expr:
        """Return the tier's name, null for a score that has none."""
        name: pl.Expr = pl.lit(None, pl.String)
        for tier in self.bands.tiers:
            # No NaN comes through: polars orders it above 1.0.
            reached = pl.when(score.is_between(tier.at_least, 1.0))
            name = reached.then(pl.lit(tier.name)).otherwise(name)
        return name

    def _rejections(self, frame: pl.DataFrame, score: pl.Expr) -> pl.DataFrame:
        """Return a rejection for each row of ``frame``, none of which has a tier."""
        model, lowest = self.bands.score, self.bands.tiers[0]
        below = pl.when(score.is_between(0.0, 1.0))
        return rejections(
            frame,
            filter_id=self.name,
            filter_type="QUALITY",
            reason=below.then(
                pl.lit(f"score {model} is below {lowest.at_least}, where {lowest.name} begins")
            ).otherwise(pl.lit(f"score {model} is no number from 0 to 1")),
            reason_code=below.then(pl.lit("BAND_BELOW_LOWEST")).otherwise(
                pl.lit("BAND_SCORE_INVALID")
            ),
        )
