"""Counting rows as they pass, so that a unit's balance comes from its data.

A tally is a counter of short tuples; tallies of a unit add up in any order. Engine metrics are not
used: a retried bundle would count twice there, while here its output is simply replaced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from transforms.tallies import tally as count_reasons

Tally = Counter[tuple[str, ...]]

#: Tag of the outputs that carry (unit, tally).
TALLIES = "tallies"

READ = ("read",)
WRITTEN = ("written",)
DEDUPLICATED = ("deduplicated",)
QUARANTINED = ("quarantined",)
#: Kind of tally: ("rejected", filterType, filterId, reasonCode).
REJECTED = "rejected"
#: Kind of tally: ("stage", stage, "in" | "passed" | "rejected" | "microseconds").
STAGE = "stage"
#: Kind of tally: ("score", modelId, bin) where bin is the twentieth of 0..1 that holds the score.
SCORE = "score"
#: Kind of tally: ("label", column, value).
LABEL = "label"
SCORE_BINS = 20
#: The stage under which all work of the first pass is counted.
FIRST_PASS = "first pass"


def add(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of tallies."""
    total: Tally = Counter()
    for tally in tallies:
        total.update(tally)
    return total


def document(tally: Tally) -> list[list[str | int]]:
    """Return a tally as JSON, sorted."""
    return sorted([*key, count] for key, count in tally.items())


def tallies_of(details: Mapping[str, Any]) -> Tally:
    """Return the tally that a record of the ledger holds as ``counted``; none is an empty one."""
    return Counter({tuple(key): count for *key, count in details.get("counted", ())})


def of_stage(stage: str, rows_in: int, passed: int, rejected: int, seconds: float) -> Tally:
    """Return what one kernel did to one batch."""
    return Counter(
        {
            (STAGE, stage, "in"): rows_in,
            (STAGE, stage, "passed"): passed,
            (STAGE, stage, "rejected"): rejected,
            (STAGE, stage, "microseconds"): round(seconds * 1e6),
        }
    )


def of_rejections(rejected: pl.DataFrame) -> Tally:
    """Count rejections by filter type, filter and reason code (property 38)."""
    return Counter({(REJECTED, *key): count for *key, count in count_reasons(rejected).iter_rows()})


def of_labels(frame: pl.DataFrame, columns: Iterable[str]) -> Tally:
    """Count the values of text columns: bands, treatments."""
    return Counter(
        {
            (LABEL, column, str(value)): count
            for column in columns
            for value, count in frame.group_by(column).len().sort(column).iter_rows()
        }
    )


def of_scores(frame: pl.DataFrame, models: Iterable[str]) -> Tally:
    """Count scores by twentieths; 1.0 is in the last."""
    tally: Tally = Counter()
    for model in models:
        bins = frame.select(
            (pl.col(f"score.{model}") * SCORE_BINS).floor().clip(0, SCORE_BINS - 1).cast(pl.Int8)
        ).to_series()
        counts = bins.value_counts(name="count").sort(bins.name)
        tally.update({(SCORE, model, str(b)): n for b, n in counts.iter_rows()})
    return tally
