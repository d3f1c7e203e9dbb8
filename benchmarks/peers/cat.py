"""Copy the bytes of all files into one by ``cat``: ``python -m benchmarks.peers.cat``.

The yardstick of copying. What it writes is no Avro file: headers lie between the blocks.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.merge_measure import run


def concatenate(sources: list[Path], target: Path) -> None:
    with target.open("wb") as file:
        subprocess.run(["cat", *map(str, sources)], stdout=file, check=True)


if __name__ == "__main__":
    run(concatenate, avro=False)
