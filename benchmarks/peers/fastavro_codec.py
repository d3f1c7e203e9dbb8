"""Decode and encode the events with fastavro: ``python -m benchmarks.peers.fastavro_codec``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import fastavro

from benchmarks.generate import registration_schema
from benchmarks.measure import Stopwatch, avro_files, folders, report


def decode(path: Path) -> list[Any]:
    with path.open("rb") as file:
        return list(fastavro.reader(file))


def encode(rows: list[Any], path: Path) -> None:
    with path.open("wb") as file:
        fastavro.writer(file, registration_schema(), rows, codec="snappy")


def main() -> None:
    source, out = folders(sys.argv[1:])
    decoding = encoding = 0.0
    with Stopwatch() as watch:
        for number, path in enumerate(avro_files(source)):
            start = time.perf_counter()
            rows = decode(path)
            read = time.perf_counter()
            encode(rows, out / f"part-{number:04d}.avro")
            decoding += read - start
            encoding += time.perf_counter() - read
    report(
        watch,
        source,
        out,
        decode_seconds=round(decoding, 3),
        encode_seconds=round(encoding, 3),
    )


if __name__ == "__main__":
    main()
