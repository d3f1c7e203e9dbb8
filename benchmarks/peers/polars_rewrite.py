"""Merge files by decoding and encoding them: ``python -m benchmarks.peers.polars_rewrite``."""

from __future__ import annotations

from pathlib import Path

from polars_avro import AvroWriter, Codec, read_avro

from benchmarks.merge_measure import run


def merge(sources: list[Path], target: Path) -> None:
    with target.open("wb") as file, AvroWriter(file, codec=Codec.Snappy) as writer:
        for path in sources:
            writer.write(read_avro(path))


if __name__ == "__main__":
    run(merge)
