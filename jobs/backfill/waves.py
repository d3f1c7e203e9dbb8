"""Cutting units into waves: the pipeline runs that an application of a plan consists of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from typing import TypeVar

from jobs.backfill.plan import Order

Item = TypeVar("Item")


def waves(
    days: Mapping[str, int], order: Order, most_units: int, most_rows: int
) -> Iterator[tuple[str, ...]]:
    """Yield the days of each wave, the days of a wave in order; ``days`` gives their rows.

    A wave has at most ``most_units`` days and ``most_rows`` rows, which bounds the memory of a run;
    a day of more rows has one for itself. Newest days come first unless the oldest are asked for;
    every day has its turn once before any has a second.

    >>> list(waves({"2017-03-01": 5, "2017-03-02": 5, "2017-03-03": 9}, "newest", 9, 10))
    [('2017-03-03',), ('2017-03-01', '2017-03-02')]
    """
    wave: list[str] = []
    rows = 0
    for day in sorted(days, reverse=order == "newest"):
        if wave and (len(wave) == most_units or rows + days[day] > most_rows):
            yield tuple(sorted(wave))
            wave, rows = [], 0
        wave.append(day)
        rows += days[day]
    if wave:
        yield tuple(sorted(wave))


def in_turn(queues: Sequence[Sequence[Item]]) -> Iterator[Item]:
    """Yield the first of every queue, then the second of every queue: no program waits for another.

    >>> list(in_turn([[1, 2, 3], [10], [20, 21]]))
    [1, 10, 20, 2, 21, 3]
    """
    nothing = object()
    turns = chain.from_iterable(zip_longest(*queues, fillvalue=nothing))
    return (item for item in turns if item is not nothing)  # type: ignore[misc]
