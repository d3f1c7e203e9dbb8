"""Merge files block by block with fastavro: ``python -m benchmarks.peers.fastavro_blocks``.

Rows are not decoded, but fastavro unpacks every block that it reads and packs it again.
"""

from __future__ import annotations

from pathlib import Path

import fastavro
from fastavro.write import Writer

from benchmarks.generate import registration_schema
from benchmarks.merge_measure import run


def merge(sources: list[Path], target: Path) -> None:
    with target.open("wb") as file:
        writer = Writer(file, registration_schema(), codec="snappy")
        for path in sources:
            with path.open("rb") as source:
                for block in fastavro.block_reader(source):
                    writer.write_block(block)
        writer.flush()


if __name__ == "__main__":
    run(merge)
