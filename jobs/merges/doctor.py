"""``muster athena doctor``: what is wrong with a lake, type by type, for a terminal or as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import timedelta
from textwrap import wrap
from typing import Any

from rich.console import Console
from rich.text import Text

from conf.environment import Environment
from jobs.merges.catalogs import open_catalog
from jobs.sizes import size_text
from pipelines.ledger.ledger import Clock, Ledger, now, stamp
from pipelines.merging.doctor import Norms, Report, examine
from pipelines.merging.engines import Engine
from pipelines.merging.finding import Finding, Severity, number
from pipelines.storage import Storage
from schemas.registry import record_type

#: Findings of a record type that a screen shows, and where their text begins.
_SHOWN, _INDENT = 40, 9
_STYLE: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "dim"}


def doctor(
    environment: Environment, types: Sequence[str], engine: Engine, clock: Clock = now
) -> tuple[Report, ...]:
    """Read a lake, and return what is to be said of each record type.

    Raises:
        UnknownRecordType: a type is not registered.
        WrongUse: the catalog cannot be asked without Spark.
        StorageFailed: the storage refused or broke.
    """
    storage = Storage(environment.lake.root)
    ledger = Ledger(storage, clock)
    merges = environment.merges
    norms = Norms(
        merges.target_bytes,
        merges.limit_bytes,
        merges.schema_policy,
        environment.lake.codec,
        stamp(clock() - timedelta(days=min(merges.archive_days, 36_500))),
    )
    catalog = open_catalog(environment, storage, engine)
    return tuple(examine(storage, ledger, catalog, record_type(name), norms) for name in types)


def counts(reports: Iterable[Report]) -> Counter[Severity]:
    """Return how many errors, warnings and notes there are."""
    return Counter(each.severity for report in reports for each in report.findings)


def document(reports: Sequence[Report]) -> dict[str, Any]:
    """Return the same as ``--json`` prints it."""
    found = counts(reports)
    severities: tuple[Severity, ...] = ("error", "warning", "note")
    return {
        "healthy": not found["error"] and not found["warning"],
        "counts": {f"{severity}s": found[severity] for severity in severities},
        "findings": [_document(report, each) for report in reports for each in report.findings],
    }


def _document(report: Report, finding: Finding) -> dict[str, Any]:
    said = asdict(finding)
    said["bytes"] = said.pop("size")
    said["examples"] = list(finding.examples)
    return {"recordType": report.record_type, **said}


def print_reports(reports: Sequence[Report], console: Console, where: str = "") -> None:
    """Print the findings by record type, and a line that sums them up.

    ``where`` is what commands have to be given to reach this lake.
    """
    for report in reports:
        if report.findings:
            console.print(Text(report.record_type, style="bold"))
            for finding in report.findings[:_SHOWN]:
                _print(finding, console, where)
            if len(report.findings) > _SHOWN:
                left = len(report.findings) - _SHOWN
                console.out(f"and {left:,} more (--json has all)\n", highlight=False)
    found = counts(reports)
    told = [number(range(found[severity]), severity) for severity in _STYLE if found[severity]]
    if found["error"] or found["warning"]:
        console.out(", ".join(told), highlight=False)
        return
    seen = (
        (len(reports), "record type"),
        (sum(report.months for report in reports), "month"),
        (sum(report.files for report in reports), "merged file"),
        (sum(report.rows for report in reports), "row"),
    )
    notes = f"; {told[0]}" if told else ""
    sums = ", ".join(number(range(count), noun) for count, noun in seen)
    console.out(f"healthy: {sums}{notes}", highlight=False)


def _print(finding: Finding, console: Console, where: str) -> None:
    """Print a finding; what is to be copied from the screen is never broken into lines."""
    # A number is not parted from its unit.
    unbroken = size_text(finding.size).replace(" ", "\N{NO-BREAK SPACE}")
    size = f" ({unbroken})" if finding.size else ""
    head = Text(f"{finding.severity:<{_INDENT}}", style=_STYLE[finding.severity])
    about = f"{finding.month}: " if finding.month else ""
    lines = wrap(f"{about}{finding.what}{size}", max(40, console.width - _INDENT))
    console.print(head + Text(lines[0]), soft_wrap=True)
    for line in lines[1:]:
        _indented(console, line)
    for key in finding.examples:
        _indented(console, f"  {key}", "dim")
    if finding.files > len(finding.examples) > 0:
        _indented(console, f"  and {finding.files - len(finding.examples):,} more", "dim")
    if finding.next:
        for line in wrap(f"-> {finding.next}", max(40, console.width - _INDENT)):
            _indented(console, line, "cyan")
    if finding.command:
        _indented(console, f"-> {finding.command}{where}", "cyan")
    console.print()


def _indented(console: Console, line: str, style: str = "") -> None:
    console.print(Text(" " * _INDENT + line, style=style), soft_wrap=True)
