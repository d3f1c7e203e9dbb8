"""What is timed against what, and which goals it has to meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import s3
from benchmarks.fragments import Fragments, lake
from benchmarks.generate import DATA, Layout, dataset
from benchmarks.harness import (
    Contender,
    ContenderError,
    Goal,
    Line,
    Result,
    Rounds,
    interleaved,
    middle,
    ratio,
    result,
)
from benchmarks.merge_measure import MEGABYTE
from benchmarks.relay import relay


@dataclass(frozen=True, slots=True)
class Setup:
    """How large and how often, and whom to tell of each run."""

    rows: int
    rounds: int
    progress: Callable[[str, Line], None]

    def lines(self, *contenders: Contender, rows: int | None = None) -> Rounds:
        return self.over(self.events(rows), *contenders)

    def over(self, source: Path, *contenders: Contender) -> Rounds:
        return interleaved(contenders, source, self.rounds, DATA, self.progress)

    def events(self, rows: int | None = None) -> Path:
        return dataset(Layout(self.rows if rows is None else rows))

    def fragments(self, files: int, days: int = 1) -> Path:
        """Return a lake of half of the rows in 400 files, or of 0.6 of them in 48."""
        share = {400: 0.5, 48: 0.6}[files]
        return lake(Fragments(files, max(1, int(self.rows * share) // files), days))


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


#: The peers of merges, and how many times as fast as they Muster is to be.
MERGING: dict[str, Goal | None] = {
    "cat": Goal(">=", 0.5),
    "fastavro_blocks": None,
    "polars_rewrite": Goal(">=", 8.0),
    "spark_rewrite": Goal(">=", 20.0),
}


def merging(mode: str, *arguments: str) -> Contender:
    name = mode if mode == "muster" else f"muster {mode}"
    return Contender(name, "benchmarks.merge_run", (mode, *arguments))


def _mb_rate(lines: list[Line]) -> float:
    return middle(lines, "mb_in") / middle(lines, "seconds")


def _until_published(name: str, ours: list[Line], theirs: list[Line], peer: str) -> Result:
    """Compare a merge without what comes after readers were switched: archiving, above all."""
    seconds = middle(ours, "published_seconds")
    return result(
        f"{name} until readers see it, against {peer}",
        middle(ours, "mb_in") / seconds,
        "MB/s",
        peer=peer,
        ratio=middle(theirs, "seconds") / seconds,
    )


def merge_of(files: int) -> Comparison:
    """Time a merge of a local day's fragments into one file."""

    def compare(setup: Setup) -> list[Result]:
        ours, theirs = merging("muster"), [peer(name) for name in MERGING]
        lines = setup.over(setup.fragments(files), ours, *theirs)
        a = lines[ours.name]
        name = f"merge_{files}"
        results = [
            result(
                f"{name} against {peer}",
                _mb_rate(a),
                "MB/s",
                peer=peer,
                ratio=ratio(lines[peer], a, "seconds"),
                goal=goal,
            )
            for peer, goal in MERGING.items()
        ]
        results.append(_until_published(name, a, lines["cat"], "cat"))
        results += [result(f"{p.name}, rate", _mb_rate(lines[p.name]), "MB/s") for p in theirs]
        results += [
            result(f"{c.name}, peak memory", middle(lines[c.name], "peak_rss_mb"), "MB")
            for c in (ours, *theirs)
        ]
        started = middle(lines["spark_rewrite"], "session_seconds")
        return [*results, result("spark_rewrite, start of its session, not timed", started, "s")]

    return compare


def merge_s3(setup: Setup) -> list[Result]:
    """Time daily merges on S3, and count the bytes that monthly ones move through the client.

    The months' own rounds go through a relay that counts, so their time is not for comparing.
    """
    with s3.server() as server:
        daily = merging("s3_daily", server.root)
        plain = Contender("plain_s3", "benchmarks.peers.plain_s3", (server.root,))
        lines = setup.over(setup.fragments(400), daily, plain)
        with relay(server.port) as counting:
            monthly = merging("s3_monthly", server.root, counting.url)
            months = setup.over(setup.fragments(48, days=8), monthly)[monthly.name]
    if not counting.moved:
        raise ContenderError(f"{monthly.name}: expected to go through the relay, did not")
    a, b = lines[daily.name], lines[plain.name]
    share = counting.moved / MEGABYTE / sum(line["mb_out"] for line in months)
    return [
        result(
            "merge_s3, 400 files by day",
            _mb_rate(a),
            "MB/s",
            peer=plain.name,
            ratio=ratio(b, a, "seconds"),
            goal=Goal(">=", 0.7),
        ),
        _until_published("merge_s3", a, b, plain.name),
        result("plain_s3, rate", _mb_rate(b), "MB/s"),
        result("merge_s3, peak memory", middle(a, "peak_rss_mb"), "MB"),
        result("plain_s3, peak memory", middle(b, "peak_rss_mb"), "MB"),
        result("merge_s3, through the client by month", 100 * share, "%", goal=Goal("<=", 1)),
    ]


def merge_plan(setup: Setup) -> list[Result]:
    """Plan a merge of 10,000 fragments of few rows, whatever the setup says."""
    ours = merging("plan")
    lines = setup.over(lake(Fragments(10_000, 10, 25)), ours)[ours.name]
    return [
        result("merge_plan, 10,000 fragments", middle(lines, "seconds"), "s", goal=Goal("<=", 5)),
        result(
            "merge_plan, memory above that at the start",
            middle(lines, "more_mb"),
            "MB",
            goal=Goal("<=", 50),
        ),
    ]


#: What ``python -m benchmarks`` runs, in this order.
COMPARISONS: dict[str, Comparison] = {
    "polars_script": filter_band_against("polars_script", 1.5),
    "spark_sql": filter_band_against("spark_sql", 3.0),
    "beam_dicts": filter_band_against("beam_dicts", 15.0),
    "dedupe": dedupe,
    "codec": codec,
    "scaling": scaling,
    "merge_400": merge_of(400),
    "merge_48": merge_of(48),
    "merge_s3": merge_s3,
    "merge_plan": merge_plan,
}
#: What it runs only when asked to.
ON_REQUEST: dict[str, Comparison] = {"10m": ten_million}
