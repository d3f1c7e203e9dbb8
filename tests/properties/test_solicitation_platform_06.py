from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.program import LinearModel
from transforms.kernel import UnitContext
from transforms.linear import LinearProvider
from transforms.score_cache import ScoreCache, score_rows
from transforms.scoring import Score

START = datetime(2017, 3, 1, tzinfo=UTC)
MODEL = LinearModel(model_id="m", type="linear", coefficients={"x": 1.0}, fallback_score=0.0)
KEYS = [(customer, subject) for customer in "abc" for subject in "st"]

milliseconds = st.integers(0, 5_000)
# When scores were computed, and what each key's feature was then.
runs = st.dictionaries(
    milliseconds,
    st.dictionaries(st.sampled_from(KEYS), st.floats(0, 1), min_size=1),
    max_size=5,
)


def moment(after: int) -> datetime:
    return START + timedelta(milliseconds=after)


def computed(features: dict[tuple[str, str], float], when: datetime) -> pl.DataFrame:
    rows = [(*key, x) for key, x in features.items()]
    frame = pl.DataFrame(rows, ["customerId", "subjectId", "x"], orient="row")
    context = UnitContext("p", "2017-03-01", "run", when)
    scored = Score(LinearProvider(MODEL), MODEL)(frame, context).passed
    return score_rows(scored, MODEL.model_id, when)


@settings(max_examples=150, deadline=None)
@given(runs, milliseconds, milliseconds, st.randoms(use_true_random=False))
def test_a_cached_score_is_the_score_that_was_computed(
    runs: dict[int, dict[tuple[str, str], float]], now: int, ttl: int, shuffler: object
) -> None:
    """Feature: solicitation-platform, Property 6: Score caching consistency"""
    times = sorted(runs)
    shuffler.shuffle(times)  # type: ignore[attr-defined]
    cache = ScoreCache()
    for time in times:
        cache = cache.updated(computed(runs[time], moment(time)))
    keys = pl.DataFrame(KEYS, ["customerId", "subjectId"], orient="row")
    found = cache.lookup(keys, "m", moment(now), timedelta(milliseconds=ttl))
    for key, (value, confidence) in zip(KEYS, found.rows(), strict=True):
        usable = [time for time in runs if key in runs[time] and now - ttl <= time <= now]
        if usable:
            assert (value, confidence) == (round(runs[max(usable)][key], 6), 1.0)
        else:
            assert (value, confidence) == (None, None)
