"""Runs contenders side by side, each in its own process, and keeps what they say.

A contender is a command line that is given IN_DIR and OUT_DIR and prints one line of JSON; see
``benchmarks.measure``. Its clock runs inside, so starting an interpreter is not counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.measure import avro_files

REPOSITORY = Path(__file__).parent.parent
Line = dict[str, float]
Rounds = dict[str, list[Line]]


class ContenderError(Exception):
    """A contender ended with an error, printed no line or wrote no rows."""


class DisagreementError(Exception):
    """Contenders that do the same work wrote different rows."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A name for the table, and a module with its arguments."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()

    def command(self, source: Path, out: Path) -> list[str]:
        return [sys.executable, "-m", self.module, *self.arguments, str(source), str(out)]


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a figure: ``>=`` or ``<=``."""

    sign: str
    bound: float

    def met_by(self, figure: float) -> bool:
        return figure >= self.bound if self.sign == ">=" else figure <= self.bound

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Result:
    """A row of the table; ``goal`` bounds the ratio where there is one, else the value."""

    name: str
    value: float
    unit: str
    peer: str | None = None
    ratio: float | None = None
    goal: str | None = None
    met: bool | None = None


def result(
    name: str,
    value: float,
    unit: str,
    *,
    peer: str | None = None,
    ratio: float | None = None,
    goal: Goal | None = None,
) -> Result:
    """Return a row, judged by its unrounded figure."""
    met = None if goal is None else goal.met_by(value if ratio is None else ratio)
    rounded = None if ratio is None else round(ratio, 3)
    bound = None if goal is None else str(goal)
    return Result(name, round(value, 3), unit, peer, rounded, bound, met)


def warm(source: Path) -> None:
    """Read every file once, so that no contender pays for a cold page cache."""
    for path in avro_files(source):
        path.read_bytes()


def run_once(contender: Contender, source: Path, scratch: Path) -> Line:
    """Return the line that ``contender`` prints; its output is thrown away."""
    # Pages that an earlier contender left dirty would be written at this one's expense.
    os.sync()
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        command = contender.command(source.resolve(), Path(folder).resolve() / "out")
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        raise ContenderError(
            f"{contender.name}: expected exit code 0 and a line of JSON, found exit code "
            f"{done.returncode}: {done.stderr[-2_000:]}"
        )
    line: Line = json.loads(lines[-1])
    if line.get("rows_out") == 0:
        raise ContenderError(f"{contender.name}: expected rows, found none: {done.stderr[-2_000:]}")
    return line


def interleaved(
    contenders: Sequence[Contender],
    source: Path,
    rounds: int,
    scratch: Path,
    progress: Callable[[str, Line], None] = lambda _name, _line: None,
) -> Rounds:
    """Run A B A B ... and return each contender's lines, one a round.

    Raises DisagreementError when they do not all write the same rows.
    """
    warm(source)
    lines: Rounds = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            line = run_once(contender, source, scratch)
            lines[contender.name].append(line)
            progress(contender.name, line)
    agree(lines)
    return lines


def agree(lines: Rounds) -> None:
    """Raise DisagreementError unless all lines have one count of rows and one checksum.

    A line without a checksum is of a contender that writes no Avro: it agrees with all.
    """
    found = {
        name: sorted(
            {
                (int(line["rows_out"]), int(line["checksum"]))
                for line in of_one
                if "checksum" in line
            }
        )
        for name, of_one in lines.items()
    }
    if len({pair for pairs in found.values() for pair in pairs}) > 1:
        raise DisagreementError(f"expected one (rows, checksum) for all, found {found}")


def middle(lines: Sequence[Line], key: str) -> float:
    """Return the median of one figure over the rounds."""
    return median(line[key] for line in lines)


def ratio(of: Sequence[Line], to: Sequence[Line], key: str) -> float:
    """Return the median of the rounds' own ratios, which a drifting machine moves least."""
    return median(a[key] / b[key] for a, b in zip(of, to, strict=True))


def save(results: Sequence[Result], path: Path) -> None:
    """Write ``results`` as a JSON list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in results], indent=2) + "\n")
