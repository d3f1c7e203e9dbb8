"""Merges in bounded memory, measured from outside: what a process of its own holds at most."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipelines.lake import Lake, LakeSettings
from schemas.codec import Encoder
from schemas.container import header_bytes, put_long
from tests.integration.code_assignments import CODES, FOREIGN, ROWS_OF_BODY, body, table

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MIB = 1 << 20
#: The document's bound of a merge, and the issue's of planning.
MOST, MOST_TO_PLAN = 256 * MIB, 50 * MIB
SECONDS_TO_PLAN = 5.0
DAY, MONTH, LAST = "2017-03-01", "2017-03", "2017-03-31"
DAILY = ("daily", "--from", DAY, "--to", LAST)
MONTHLY = ("monthly", "--month", MONTH)

#: Imports all that merging needs and plans a lake where nothing is; then does what it is asked to.
_CHILD = """
import importlib, json, pkgutil, sys, time
import jobs.cli, jobs.merges, pipelines.merging
from jobs.backfill.plan import Request
from jobs.backfill.planning import make_plan
for package in (jobs.merges, pipelines.merging):
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
from jobs.merges.loading import merge_loader
from jobs.merges.options import MergeOptions

def peak():
    with open("/proc/self/status") as lines:
        told = next(line for line in lines if line.startswith("VmHWM"))
    return int(told.split()[1]) * 1024

def plan(out):
    month = ("2017-03-01", "2017-03-31")
    options = MergeOptions("daily").document()
    request = Request("merge", ("codeAssignment",), "local", out, *month, options=options)
    load = merge_loader(request)
    load("codeAssignment").code
    started = time.perf_counter()
    found = make_plan(request, load)
    return time.perf_counter() - started, sum(len(p.inputs) for p in found.programs)

empty, out, *arguments = sys.argv[1:]
plan(empty)
start, code, seconds, inputs = peak(), 0, 0.0, 0
if arguments:
    try:
        jobs.cli.main.main(["merge", *arguments, "--out", out], standalone_mode=False)
    except SystemExit as end:
        code = end.code
else:
    seconds, inputs = plan(out)
print(json.dumps({"more": peak() - start, "code": code, "seconds": seconds, "inputs": inputs}))
"""


class Measured:
    """A local lake of code assignments, merged by processes whose memory is measured."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.root = out / "lake"
        key = "6d75737465722d6c6f63616c2d6c616b652d73796e632d6b65792d3030303031"
        self.lake = Lake(LakeSettings(str(self.root), "snappy", key))

    def place(self, day: str, name: str) -> Path:
        """Return where another program puts a file."""
        path = self.root / "fragments" / CODES.name / "landed" / day / f"{name}.avro"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def run(self, *arguments: str, code: int = 0) -> int:
        """Merge, or plan without arguments; return the most bytes held above those at the start."""
        return int(self.told(*arguments, code=code)["more"])

    def told(self, *arguments: str, code: int = 0) -> dict[str, float]:
        command = [sys.executable, "-c", _CHILD, str(self.out / "empty"), str(self.out)]
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        said: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        assert said["code"] == code, done.stderr
        return said

    def merged(self) -> list[Path]:
        """Return the files that readers find, sorted."""
        pointers = sorted((self.root / "pointers" / CODES.name / MONTH).glob("*.json"))
        return [self.root / key for key in json.loads(pointers[-1].read_bytes())["files"]]

    def receipts(self) -> list[dict[str, object]]:
        """Return those of the last generation."""
        folders = sorted((self.root / "receipts" / CODES.name / MONTH).iterdir())
        return [json.loads(path.read_bytes()) for path in sorted(folders[-1].iterdir())]

    def counted(self) -> int:
        """Return how many rows the receipts speak of."""
        statistics = [receipt["statistics"] for receipt in self.receipts()]
        return sum(said["count"]["records"] for said in statistics)  # type: ignore[index]


@pytest.fixture
def measured(tmp_path: Path) -> Iterator[Measured]:
    yield Measured(tmp_path)
    shutil.rmtree(tmp_path)


def write(path: Path, encoder: Encoder, data: bytes, times: int) -> None:
    with path.open("wb") as file:
        file.write(encoder.header)
        for _ in range(times):
            file.write(data)


def test_large_files(measured: Measured) -> None:
    """48 files of 25 MB and one of 600 MB, which is cut: 1.8 GB by day, then by month."""
    encoder = measured.lake.encoder(CODES)
    data = body("snappy", encoder.sync)
    few, many = 25_000_000 // len(data), 600_000_000 // len(data)
    first = measured.place(DAY, "0")
    write(first, encoder, data, few)
    for n in range(1, 48):  # one file by many names: of the bytes, nobody knows that
        os.link(first, measured.place(f"2017-03-{n // 4 + 1:02}", str(n)))
    write(measured.place(LAST, "large"), encoder, data, many)
    assert measured.run(*DAILY) < MOST
    assert measured.run(*MONTHLY) < MOST
    assert measured.counted() == (48 * few + many) * ROWS_OF_BODY
    assert len(measured.merged()) > 1


def test_many_files(measured: Measured) -> None:
    encoder = measured.lake.encoder(CODES)
    data = encoder.header + encoder.encode(table(np.arange(10)))
    for n in range(10_000):
        measured.place(f"2017-03-{n % 31 + 1:02}", str(n)).write_bytes(data)
    plan = measured.told()
    assert plan["inputs"] == 10_000
    assert plan["more"] < MOST_TO_PLAN
    assert plan["seconds"] < SECONDS_TO_PLAN
    assert measured.run(*DAILY) < MOST
    assert measured.run(*MONTHLY) < MOST
    assert measured.counted() == 100_000


@pytest.mark.parametrize("codec", ["null", "snappy"])
def test_one_large_block(measured: Measured, codec: str) -> None:
    """It is copied as it is; it is refused where it had to be made anew, which takes all of it."""
    rows = body("null", FOREIGN)[:MIB]
    with measured.place(DAY, "0").open("wb") as file:
        file.write(header_bytes(CODES.text, "null", FOREIGN))
        file.write(put_long(1) + put_long(300 * MIB))
        for _ in range(300):
            file.write(rows)
        file.write(FOREIGN)
    assert measured.run(*DAILY, "--codec", codec, code=int(codec != "null")) < MOST
    assert measured.place(DAY, "0").exists() == (codec != "null")


def test_duplicates(measured: Measured) -> None:
    encoder = measured.lake.encoder(CODES)
    numbers = np.random.default_rng(2).permutation(3_000_000) % 2_000_000
    for n, some in enumerate(np.array_split(numbers, 30)):
        data = encoder.header + encoder.encode(table(some))
        measured.place(f"2017-03-{n + 1:02}", str(n)).write_bytes(data)
    assert measured.run(*MONTHLY, "--dedupe") < MOST
    assert measured.counted() == 2_000_000


def test_another_codec(measured: Measured) -> None:
    encoder = measured.lake.encoder(CODES)
    data = body("snappy", encoder.sync)
    write(measured.place(DAY, "0"), encoder, data, 300_000_000 // len(data))
    assert measured.run(*DAILY, "--codec", "zstandard") < MOST
    assert measured.counted() == 300_000_000 // len(data) * ROWS_OF_BODY
