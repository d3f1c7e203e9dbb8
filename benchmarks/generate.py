"""Write registration events as Avro: ``python -m benchmarks.generate --rows 4000000``.

The same arguments write the same bytes, on any machine.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import click
import fastavro
import polars as pl
import pyarrow as pa
from polars_avro import AvroWriter, Codec

from benchmarks.events import FIRST_DAY, Events

DATA = Path(__file__).parent / "data"
#: One Avro block holds this many rows: about 300 KB before compression.
BLOCK_ROWS = 4_096
#: Raise it when the bytes that the same arguments give change on purpose.
VERSION = 1

ARROW = pa.schema(
    [
        pa.field("customerId", pa.large_string(), nullable=False),
        pa.field("subjectId", pa.large_string(), nullable=False),
        pa.field("marketplace", pa.large_string(), nullable=False),
        pa.field("eventDate", pa.timestamp("ms", "UTC"), nullable=False),
        pa.field("orderValue", pa.float64(), nullable=False),
        pa.field("quantity", pa.int32(), nullable=False),
        pa.field("email", pa.large_string()),
        pa.field("phone", pa.large_string()),
        pa.field("city", pa.large_string(), nullable=False),
        pa.field("country", pa.large_string(), nullable=False),
        pa.field("optIn", pa.bool_(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Block:
    """Hands polars-avro a table with the schema's own nullability."""

    frame: pl.DataFrame

    def to_arrow(self) -> pa.Table:
        return self.frame.to_arrow().cast(ARROW)


@dataclass(frozen=True, slots=True)
class Layout:
    """``rows`` events over ``days`` folders of ``files_per_day`` files each."""

    rows: int
    days: int = 8
    files_per_day: int = 1
    seed: int = 1

    @property
    def name(self) -> str:
        return f"events-v{VERSION}-{self.rows}-{self.days}x{self.files_per_day}-{self.seed}"

    def parts(self) -> Iterator[tuple[str, int, int]]:
        """Give each file's path and its range of rows; a file never spans two days."""
        bounds = [-(-self.rows * day // self.days) for day in range(self.days + 1)]
        for day in range(self.days):
            low, high = bounds[day], bounds[day + 1]
            date = (FIRST_DAY + timedelta(days=day)).date()
            cuts = [
                low + (high - low) * part // self.files_per_day
                for part in range(self.files_per_day + 1)
            ]
            for part in range(self.files_per_day):
                yield f"events/date={date}/part-{part:04d}.avro", cuts[part], cuts[part + 1]


def registration_schema() -> dict[str, Any]:
    """Return the registered schema as parsed JSON."""
    text = files("schemas").joinpath("avsc/registration.v1.avsc").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _header(sync: bytes) -> bytes:
    buffer = io.BytesIO()
    fastavro.writer(buffer, registration_schema(), [], codec="snappy", sync_marker=sync)
    return buffer.getvalue()


def _container(events: Events, start: int, stop: int, sync: bytes) -> bytes:
    """Return one Avro file; its random sync marker and generic header are replaced."""
    buffer = io.BytesIO()
    with AvroWriter(buffer, codec=Codec.Snappy) as writer:
        for low in range(start, stop, BLOCK_ROWS):
            block = Block(events.frame(low, min(low + BLOCK_ROWS, stop)))
            writer.write(cast(pl.DataFrame, block))
    _, *blocks = buffer.getvalue().split(buffer.getvalue()[-16:])
    return _header(sync) + sync.join(blocks)


def _write(layout: Layout, target: Path) -> None:
    events = Events(layout.rows, layout.days, layout.seed)
    sync = hashlib.md5(layout.name.encode(), usedforsecurity=False).digest()

    def write(part: tuple[str, int, int]) -> None:
        path, start, stop = part
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(_container(events, start, stop, sync))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, layout.parts()))


def once(target: Path, write: Callable[[Path], None]) -> Path:
    """Return the folder ``target``, which ``write`` fills if it is not there."""
    partial = target.with_name(f"{target.name}.partial")
    if not target.exists():
        shutil.rmtree(partial, ignore_errors=True)
        write(partial)
        partial.rename(target)
    return target


def dataset(layout: Layout, root: Path = DATA) -> Path:
    """Return the folder of ``layout``'s events, writing it first if it is not there."""
    if not 0 < layout.days * layout.files_per_day <= layout.rows:
        raise ValueError(f"rows: expected at least one for each file, found {layout.rows}")
    return once(root / layout.name, lambda target: _write(layout, target))


@click.command()
@click.option("--rows", type=click.IntRange(min=1), default=4_000_000, show_default=True)
@click.option("--days", type=click.IntRange(1, 3_660), default=8, show_default=True)
@click.option("--files-per-day", type=click.IntRange(1, 10_000), default=1, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--root", type=click.Path(path_type=Path), default=DATA, show_default=False)
def main(rows: int, days: int, files_per_day: int, seed: int, root: Path) -> None:
    """Write the events once and print their folder."""
    click.echo(dataset(Layout(rows, days, files_per_day, seed), root))


if __name__ == "__main__":
    main()
