"""Pieces put into files of about one size, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Sized(Protocol):
    """Something that has a size in bytes."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...


Item = TypeVar("Item", bound=Sized)


def pack(items: Sequence[Item], target: int) -> list[list[Item]]:
    """Cut ``items`` into as many runs as make each about ``target`` bytes, all about equal.

    Up to one and a half times the target stays one run. No run has more than one and a half times
    the target and half an item at each end; order is kept, and no run is empty.

    >>> class Of(int):
    ...     size = property(int)
    >>> pack([Of(4), Of(4), Of(4), Of(4)], 8)
    [[4, 4], [4, 4]]
    >>> pack([Of(4), Of(4), Of(3)], 8)
    [[4, 4, 3]]
    """
    whole = sum(item.size for item in items)
    runs = parts(whole, target)
    found: list[list[Item]] = [[] for _ in range(runs)]
    before = 0
    for item in items:
        middle = 2 * before + item.size  # twice, so that all stays whole numbers
        found[min(runs - 1, middle * runs // max(1, 2 * whole))].append(item)
        before += item.size
    return [run for run in found if run]


def parts(size: int, target: int) -> int:
    """Return into how many about equal parts ``size`` bytes are cut.

    >>> [parts(size, 100) for size in (0, 100, 150, 151, 250, 251)]
    [1, 1, 1, 2, 2, 3]
    """
    return max(1, -(-(2 * size - target) // (2 * target)))
