"""Write a lake of registrations' fragments: ``python -m benchmarks.fragments --files 400``.

The same arguments write the same bytes, on any machine. Fragments lie where another program would
put them: no ledger names them, and all of them count.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path

import click
import yaml

from benchmarks.events import FIRST_DAY, Events
from benchmarks.generate import DATA, once
from schemas.codec import Encoder
from schemas.container import sync_marker
from schemas.registry import record_type

#: Raise it when the bytes that the same arguments give change on purpose.
VERSION = 1
RECORD = "registration"
PROGRAM = "bench"


@dataclass(frozen=True, slots=True)
class Fragments:
    """``files`` fragments of ``rows`` rows each, spread evenly over ``days``."""

    files: int
    rows: int
    days: int = 1
    seed: int = 1

    @property
    def name(self) -> str:
        return f"fragments-v{VERSION}-{self.files}x{self.rows}-{self.days}-{self.seed}"

    def folder(self, number: int) -> str:
        """Return where in the lake the fragment of this number is."""
        day = FIRST_DAY + timedelta(days=number * self.days // self.files)
        return f"fragments/{RECORD}/{PROGRAM}/{day.date()}"


@cache
def sync_key() -> str:
    """Return the key (hex) of the local environment's lake."""
    text = files("conf").joinpath("environments/local.yaml").read_text(encoding="utf-8")
    key: str = yaml.safe_load(text)["lake"]["syncKey"]
    return key


def _write(layout: Fragments, target: Path) -> None:
    record = record_type(RECORD)
    encoder = Encoder(
        record, "snappy", sync=sync_marker(bytes.fromhex(sync_key()), record.fingerprint)
    )
    events = Events(layout.files * layout.rows, layout.days, layout.seed)
    for folder in {layout.folder(number) for number in range(layout.files)}:
        (target / folder).mkdir(parents=True)

    def write(number: int) -> None:
        frame = events.frame(number * layout.rows, (number + 1) * layout.rows)
        data = encoder.header + encoder.encode(frame.to_arrow())
        name = f"{number:05d}-000-{hashlib.sha256(data).hexdigest()[:16]}.avro"
        (target / layout.folder(number) / name).write_bytes(data)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(layout.files)))
    (target / "_lake.json").write_text(json.dumps({"syncKey": sync_key()}))


def lake(layout: Fragments, root: Path = DATA) -> Path:
    """Return the root of ``layout``'s lake, writing it first if it is not there."""
    if layout.rows < 1 or layout.files < 1 or layout.files % layout.days:
        raise ValueError(f"expected rows, and as many files for every day, found {layout}")
    return once(root / layout.name, lambda target: _write(layout, target))


@click.command()
@click.option("--files", "count", type=click.IntRange(min=1), default=400, show_default=True)
@click.option("--rows", type=click.IntRange(min=1), default=5_000, show_default=True)
@click.option("--days", type=click.IntRange(1, 31), default=1, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--root", type=click.Path(path_type=Path), default=DATA, show_default=False)
def main(count: int, rows: int, days: int, seed: int, root: Path) -> None:
    """Write the fragments once and print the root of their lake."""
    click.echo(lake(Fragments(count, rows, days, seed), root))


if __name__ == "__main__":
    main()
