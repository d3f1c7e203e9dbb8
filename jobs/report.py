"""One self-contained page about a run: no script, font or picture from anywhere else."""

from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from jobs.charts import DAY, Point, calendars, columns
from jobs.funnel import funnel
from jobs.results import Histogram, RunResult, UnitResult
from jobs.sizes import size_text

#: Runs of more days than this show a calendar in place of one bar a unit.
BARS = 62

_MARK = {"failed": "failed", "skipped": "skipped"}


def write_report(result: RunResult, path: Path) -> None:
    """Write the page about ``result`` to ``path``; the same result gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(result), encoding="utf-8")


def render(result: RunResult) -> str:
    """Return the page about ``result``; every name from the data is escaped."""
    environment = Environment(
        loader=PackageLoader("jobs"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _count, "share": _share, "time": _time, "size": size_text}
    environment.filters["zip"] = zip
    return environment.get_template("report.html.j2").render(**_page(result))


def _page(result: RunResult) -> dict[str, Any]:
    return {
        "run": result,
        "period": _period(result.units),
        "headline": _headline(result),
        "statuses": Counter(unit.status for unit in result.units),
        "total": result.total,
        "off": [u for u in result.units if u.status != "failed" and not u.balance.balanced],
        "funnel": funnel(result),
        "wide": [h for h in result.histograms if len(h.labels) > 8],
        "narrow": [h for h in result.histograms if len(h.labels) <= 8],
        "bars_of": _bars_of,
        "rows": columns([_rows(unit) for unit in result.units]),
        "seconds": columns([_seconds(unit) for unit in result.units]),
        "calendars": _calendars(result.units),
        "day": DAY,
        "stage_seconds": sum(stage.seconds for stage in result.stages),
    }


def _period(units: tuple[UnitResult, ...]) -> str:
    if not units:
        return "no units"
    first, last = units[0].partition, units[-1].partition
    return first if first == last else f"{first} to {last}"


def _headline(result: RunResult) -> str:
    counts, many = Counter(unit.status for unit in result.units), len(result.units)
    for status in ("failed", "skipped"):
        if counts[status]:
            return f"{counts[status]:,} of {many:,} {'unit' if many == 1 else 'units'} {status}"
    if counts["unchanged"] == many:
        return "nothing new: every unit is unchanged" if many else "no units"
    before = f", {counts['unchanged']:,} unchanged" if counts["unchanged"] else ""
    made = counts["published"]
    return f"{made:,} {'unit' if made == 1 else 'units'} published{before}"


def _rows(unit: UnitResult) -> Point:
    read, written = unit.balance.read, unit.balance.written
    title = f"{unit.partition}: {read:,} read, {written:,} written, {unit.status}"
    return Point(read, written, title, _MARK.get(unit.status, ""))


def _seconds(unit: UnitResult) -> Point:
    title = f"{unit.partition}: {_time(unit.seconds)}, {unit.status}"
    return Point(unit.seconds, 0.0, title, _MARK.get(unit.status, ""))


def _bars_of(histogram: Histogram) -> Any:
    total = sum(histogram.counts)
    pairs = zip(histogram.labels, histogram.counts, strict=True)
    return columns([Point(n, n, f"{label}: {n:,} ({_share(n, total)})") for label, n in pairs])


def _calendars(units: tuple[UnitResult, ...]) -> Any:
    if len(units) <= BARS:
        return ()
    try:
        return calendars({date.fromisoformat(unit.partition): _rows(unit) for unit in units})
    except ValueError:  # units that are no days have no calendar
        return ()


def _count(value: int) -> str:
    return f"{value:,}"


def _share(part: float, whole: float) -> str:
    percent = 100.0 * part / whole if whole else 0.0
    return "<0.1 %" if 0 < percent < 0.05 else f"{percent:.1f} %" if percent else "0 %"


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
