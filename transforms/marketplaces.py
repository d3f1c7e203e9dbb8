"""Settings that differ by marketplace, where a frame holds rows of several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from transforms.kernel import ROW, Kernel, Split, UnitContext, concat_rejections


@dataclass(frozen=True)
class ByMarketplace:
    """Runs each row through the kernels of its marketplace, or through the others' (property 33).

    Reads ``marketplace`` (never null after conform). Passed rows come back in the order of
    ``_row``; a column that only some marketplaces add is null for the rest.
    """

    special: Mapping[str, tuple[Kernel, ...]]
    default: tuple[Kernel, ...]
    name: ClassVar[str] = "marketplaces"

    def __call__(self, frame: pl.DataFrame, context: UnitContext) -> Split:
        """Split ``frame`` by the rules of each row's marketplace."""
        groups = frame.partition_by("marketplace", as_dict=True, maintain_order=True)
        splits = [
            _run(self.special.get(str(code), self.default), rows, context)
            for (code,), rows in groups.items()
        ] or [_run(self.default, frame, context)]
        passed = pl.concat([split.passed for split in splits], how="diagonal")
        return Split(passed.sort(ROW), concat_rejections(split.rejected for split in splits))


def _run(kernels: tuple[Kernel, ...], frame: pl.DataFrame, context: UnitContext) -> Split:
    rejected = []
    for kernel in kernels:
        split = kernel(frame, context)
        rejected.append(split.rejected)
        frame = split.passed
    return Split(frame, concat_rejections(rejected))
