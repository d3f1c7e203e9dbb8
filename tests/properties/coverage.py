"""Writes COVERAGE.md from the docstrings of the property tests: ``make coverage``."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
#: Numbered properties of each requirements document.
DOCUMENTS = {
    "solicitation-platform": 60,
    "smart-retail-intelligence-application": 54,
    "activity-event-processing": 18,
}
_TAG = re.compile(r"Feature: (?P<document>[a-z-]+), Property (?P<number>\d+): (?P<title>[^\n]+)")

Found = dict[tuple[str, int], list[tuple[str, str]]]


def found() -> Found:
    """Return (title, test) by document and number, for every property test."""
    tests: Found = defaultdict(list)
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                tag = _TAG.match(" ".join((ast.get_docstring(node) or "").split("\n\n")[0].split()))
                if tag:
                    key = (tag["document"], int(tag["number"]))
                    tests[key].append((tag["title"].rstrip("."), f"{path.name}::{node.name}"))
    return tests


def coverage() -> str:
    """Return the text of COVERAGE.md."""
    tests = found()
    lines = ["# Properties", "", "Written by `make coverage` from the tests beside it.", ""]
    for document, count in DOCUMENTS.items():
        done = [number for number in range(1, count + 1) if (document, number) in tests]
        lines += [f"## {document}: {len(done)} of {count}", ""]
        if done:
            lines += ["| property | title | test |", "|---|---|---|"]
            for number in done:
                title, test = tests[document, number][0]
                lines.append(f"| {number} | {title} | `{test}` |")
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    (HERE / "COVERAGE.md").write_text(coverage())
