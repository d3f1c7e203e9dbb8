"""What is timed against what, and which goals it has to meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.generate import DATA, Layout, dataset
from benchmarks.harness import (
    Contender,
    Goal,
    Line,
    Result,
    Rounds,
    interleaved,
    middle,
    ratio,
    result,
)


@dataclass(frozen=True, slots=True)
class Setup:
    """How large and how often, and whom to tell of each run."""

    rows: int
    rounds: int
    progress: Callable[[str, Line], None]

    def lines(self, *contenders: Contender, rows: int | None = None) -> Rounds:
        return interleaved(contenders, self.events(rows), self.rounds, DATA, self.progress)

    def events(self, rows: int | None = None) -> Path:
        return dataset(Layout(self.rows if rows is None else rows))


Comparison = Callable[[Setup], list[Result]]


def muster(mode: str) -> Contender:
    return Contender(f"muster {mode}", "benchmarks.muster_run", (mode,))


def peer(name: str) -> Contender:
    return Contender(name, f"benchmarks.peers.{name}")


def _rate(lines: list[Line], seconds: str = "seconds") -> float:
    return middle(lines, "rows_in") / middle(lines, seconds)


def filter_band_against(name: str, times: float) -> Comparison:
    """Time the filters and the band against one peer: at least ``times`` as fast."""

    def compare(setup: Setup) -> list[Result]:
        ours, theirs = muster("filter_band"), peer(name)
        lines = setup.lines(ours, theirs)
        a, b = lines[ours.name], lines[theirs.name]
        return [
            result(
                f"filter_band against {name}",
                _rate(a),
                "rows/s",
                peer=name,
                ratio=ratio(b, a, "seconds"),
                goal=Goal(">=", times),
            ),
            result(f"{name}, rate", _rate(b), "rows/s"),
            result("filter_band, peak memory", middle(a, "peak_rss_mb"), "MB"),
            result(f"{name}, peak memory", middle(b, "peak_rss_mb"), "MB"),
        ]

    return compare


def dedupe(setup: Setup) -> list[Result]:
    """Time the dedupe window and the capacity against a script that holds everything."""
    ours, theirs = muster("dedupe_capacity"), peer("polars_dedupe")
    lines = setup.lines(ours, theirs)
    a, b = lines[ours.name], lines[theirs.name]
    return [
        result(
            "dedupe_capacity, time",
            middle(a, "seconds"),
            "s",
            peer=theirs.name,
            ratio=ratio(a, b, "seconds"),
            goal=Goal("<=", 1.2),
        ),
        result(
            "dedupe_capacity, peak memory", middle(a, "peak_rss_mb"), "MB", goal=Goal("<=", 1536)
        ),
        result("polars_dedupe, time", middle(b, "seconds"), "s"),
        result("polars_dedupe, peak memory", middle(b, "peak_rss_mb"), "MB"),
    ]


def codec(setup: Setup) -> list[Result]:
    """Time decoding and encoding against fastavro."""
    ours, theirs = muster("codec"), peer("fastavro_codec")
    lines = setup.lines(ours, theirs)
    a, b = lines[ours.name], lines[theirs.name]
    return [
        result(
            f"codec, {way}",
            _rate(a, f"{way}_seconds"),
            "rows/s",
            peer=theirs.name,
            ratio=ratio(b, a, f"{way}_seconds"),
            goal=Goal(">=", 6.0),
        )
        for way in ("decode", "encode")
    ]


def scaling(setup: Setup) -> list[Result]:
    """Compare all rows with a quarter of them: memory stays, time grows as the rows do."""
    results: list[Result] = []
    quarter = setup.rows // 4
    for mode, memory, time in (
        ("filter_band", Goal("<=", 1.3), Goal("<=", 4.4)),
        ("dedupe_capacity", None, Goal("<=", 4.4)),
    ):
        ours = muster(mode)
        small, large = (setup.lines(ours, rows=n)[ours.name] for n in (quarter, setup.rows))
        for key, unit, goal in (("peak_rss_mb", "MB", memory), ("seconds", "s", time)):
            results.append(
                result(
                    f"{mode}, {key} of {setup.rows} rows",
                    middle(large, key),
                    unit,
                    peer=f"{quarter} rows",
                    ratio=ratio(large, small, key),
                    goal=goal,
                )
            )
    return results


def ten_million(setup: Setup) -> list[Result]:
    """Time the whole chain once over 10 million rows, whatever the setup says."""
    ours = muster("chain")
    lines = setup.lines(ours, rows=10_000_000)[ours.name]
    return [
        result("10M, whole chain", middle(lines, "seconds"), "s", goal=Goal("<=", 180)),
        result("10M, peak memory", middle(lines, "peak_rss_mb"), "MB", goal=Goal("<=", 3_072)),
        result("10M, rate", _rate(lines), "rows/s"),
    ]


#: What ``python -m benchmarks`` runs, in this order.
COMPARISONS: dict[str, Comparison] = {
    "polars_script": filter_band_against("polars_script", 1.5),
    "spark_sql": filter_band_against("spark_sql", 3.0),
    "beam_dicts": filter_band_against("beam_dicts", 15.0),
    "dedupe": dedupe,
    "codec": codec,
    "scaling": scaling,
}
#: What it runs only when asked to.
ON_REQUEST: dict[str, Comparison] = {"10m": ten_million}
