"""Writes COVERAGE.md from the docstrings of the property tests: ``make coverage``."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
#: Rules of documents that number none, in their order there: "Data Consolidation Rules".
RULES = {
    "campaign-workers": (
        "Daily Merge",
        "Monthly Merge",
        "Schema Validation",
        "Size Limit",
        "Record Type Isolation",
        "Archive Before Replace",
    )
}
#: How many properties or rules each requirements document has.
DOCUMENTS = {
    "solicitation-platform": 60,
    "smart-retail-intelligence-application": 54,
    "activity-event-processing": 18,
    "campaign-workers": len(RULES["campaign-workers"]),
}
_TAG = re.compile(
    r"Feature: (?P<document>[a-z-]+), (Property (?P<number>\d+)|Rule): (?P<title>[^\n]+)"
)

Found = dict[tuple[str, int], list[tuple[str, str]]]


def found() -> Found:
    """Return (title, test) by document and number, for every property test."""
    tests: Found = defaultdict(list)
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                tag = _TAG.match(" ".join((ast.get_docstring(node) or "").split("\n\n")[0].split()))
                if tag:
                    title = tag["title"].rstrip(".")
                    tests[_key(tag, title)].append((title, f"{path.name}::{node.name}"))
    return tests


def _key(tag: re.Match[str], title: str) -> tuple[str, int]:
    """Return document and number; a rule's is its place among those that are known."""
    document = tag["document"]
    return document, int(tag["number"] or RULES[document].index(title) + 1)


def coverage() -> str:
    """Return the text of COVERAGE.md."""
    tests = found()
    lines = ["# Properties", "", "Written by `make coverage` from the tests beside it.", ""]
    for document, count in DOCUMENTS.items():
        done = [number for number in range(1, count + 1) if (document, number) in tests]
        lines += [f"## {document}: {len(done)} of {count}", ""]
        if done:
            kind = "rule" if document in RULES else "property"
            lines += [f"| {kind} | title | test |", "|---|---|---|"]
            for number in done:
                title, test = tests[document, number][0]
                lines.append(f"| {number} | {title} | `{test}` |")
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    (HERE / "COVERAGE.md").write_text(coverage())
