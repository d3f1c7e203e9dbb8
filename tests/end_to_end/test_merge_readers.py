"""Readers at work while days and months are merged see every row once, at every moment.

A process of its own asks the catalog for each month's current generation, again and again, and
reads all of its files with fastavro. Meanwhile days are merged, then the month, then late files;
merges are taken back and made again. Before each of their writes they wait for the reader to have
looked. Every look must find what was there before the step under way, or what is there after it,
whole.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.merges.restore import restore
from pipelines.catalogs.files import FileCatalog
from pipelines.merging.engines import LocalEngine
from pipelines.storage import Storage
from tests.end_to_end.dying import CHILDREN, PATIENCE, ROOT, told_storage
from tests.properties.merges import File, MergedLake, Rows, day, of_all, rows_of

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

TYPE = "registration"
MONTHS = ("2017-03", "2017-04")
Seen = dict[str, Rows]


def _file(number: int, name: str) -> File:
    """Return a file of a day (31 is the next month's first); no two have a row in common."""
    first = 100 * number + 10 * len(name)
    return File(
        TYPE,
        day(number),
        name,
        tuple(range(first, first + 9)),
        sync=number % 3,
        ours=number % 2 == 0,
    )


DAYS = {number: [_file(number, "a"), _file(number, "bb")] for number in (0, 1, 2, 31)}
LATE = {number: _file(number, "late") for number in DAYS}


# --- the reader, in a process of its own ----------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """What one look found, by month; ``done`` and ``begun`` steps when it began and when it ended.

    ``wrong`` is what went wrong instead.
    """

    done: int
    begun: int
    seen: Seen
    wrong: str | None = None


def _read(out: str, done: Any, begun: Any, looked: Any, ended: Any, told: Any) -> None:
    """Look until it is ``ended``; looks are told at the end, so that nothing slows them down."""
    lake = MergedLake(Path(out))
    looks: list[Look] = []
    while not ended.is_set():
        before = done.value
        try:
            seen, wrong = _look(lake), None
        except Exception as error:  # noqa: BLE001 (whatever a reader meets is told)
            seen, wrong = {}, repr(error)
        looks.append(Look(before, begun.value, seen, wrong))
        looked.value += 1
    told.send(looks)


def _look(lake: MergedLake) -> Seen:
    catalog = FileCatalog(lake.storage)
    pointers = {month: catalog.pointer(TYPE, month) for month in MONTHS}
    return {
        month: sum((rows_of(lake.storage.read(key)) for key in pointer.files), Counter())
        for month, pointer in pointers.items()
        if pointer is not None
    }


class Reader:
    """A reader at work, and the steps that it is told of."""

    def __init__(self, out: Path) -> None:
        self._done, self._begun = CHILDREN.Value("i", 0), CHILDREN.Value("i", 0)
        self._looked, self._ended = CHILDREN.Value("i", 0), CHILDREN.Event()
        self._answer, told = CHILDREN.Pipe(duplex=False)
        values = (self._done, self._begun, self._looked, self._ended, told)
        self._child = CHILDREN.Process(target=_read, args=(str(out), *values))
        self._child.start()

    def wait(self, what: str = "") -> None:
        """Wait for a look that begins after now; one that is under way does not count."""
        wanted = self._looked.value + 2
        deadline = time.monotonic() + PATIENCE
        while self._looked.value < wanted:
            assert self._child.is_alive(), what
            assert time.monotonic() < deadline, what
            time.sleep(0.001)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Say when a step is under way."""
        self._begun.value += 1
        yield
        self._done.value += 1
        self.wait()

    def looks(self) -> list[Look]:
        """End the reader, and return what it saw."""
        self._ended.set()
        assert self._answer.poll(PATIENCE), "expected the reader to answer"
        found: list[Look] = self._answer.recv()
        self._child.join(PATIENCE)
        return found


# --- what is done meanwhile -----------------------------------------------------------------------

Do = Callable[[MergedLake], None]


@dataclass(frozen=True)
class Step:
    """What is done, and the files whose rows readers see afterwards."""

    name: str
    do: Do
    files: list[File]


def _daily(number: int, *, late: bool = False) -> Do:
    def do(lake: MergedLake) -> None:
        if late:
            lake.put([LATE[number]])
        done = lake.merge("daily", TYPE, first=number, last=number, force=late)
        assert [month.status for month in done.months] == ["merged"]

    return do


def _monthly(first: int) -> Do:
    def do(lake: MergedLake) -> None:
        done = lake.merge("monthly", TYPE, first=first, last=first)
        assert [month.status for month in done.months] == ["merged"]

    return do


def _restore(name: str) -> Do:
    """Put back the sources of the current file of this name."""

    def do(lake: MergedLake) -> None:
        pointers = (FileCatalog(lake.storage).pointer(TYPE, month) for month in MONTHS)
        keys = [key for pointer in pointers if pointer for key in pointer.files]
        (key,) = (key for key in keys if key.endswith(f"/{name}.avro"))
        receipt = key.replace("merged/", "receipts/", 1).replace(".avro", ".json")
        with LocalEngine(1) as engine:
            restore(lake.environment, [receipt], engine)

    return do


def _of(*numbers: int, late: tuple[int, ...] = ()) -> list[File]:
    return [file for n in numbers for file in DAYS[n]] + [LATE[n] for n in late]


STEPS = [
    Step("the first day", _daily(0), _of(0)),
    Step("another month", _daily(31), _of(0, 31)),
    Step("the third day", _daily(2), _of(0, 2, 31)),
    Step("a late file", _daily(0, late=True), _of(0, 2, 31, late=(0,))),
    Step("the second day", _daily(1), _of(0, 1, 2, 31, late=(0,))),
    Step("the month", _monthly(0), _of(0, 1, 2, 31, late=(0,))),
    Step("late in the month", _daily(2, late=True), _of(0, 1, 2, 31, late=(0, 2))),
    Step("that taken back", _restore(f"{TYPE}_2017_03_03"), _of(0, 1, 2, 31, late=(0,))),
    Step("the month taken back", _restore(f"{TYPE}_2017_03"), _of(0, 1, 2, 31, late=(0,))),
    Step("a day taken back", _restore(f"{TYPE}_2017_03_02"), _of(0, 2, 31, late=(0,))),
    Step("the month with all", _monthly(0), _of(0, 1, 2, 31, late=(0, 2))),
    Step("the other month", _monthly(31), _of(0, 1, 2, 31, late=(0, 2))),
    Step("its late file", _daily(31, late=True), _of(0, 1, 2, 31, late=(0, 2, 31))),
]


def _seen_after(files: list[File]) -> Seen:
    by_month = {month: [f for f in files if f.day.startswith(month)] for month in MONTHS}
    return {month: of_all(some) for month, some in by_month.items() if some}


def _complaints(looks: list[Look], states: list[Seen]) -> list[str]:
    """Name every look that found something else than the states around it."""
    found = []
    for number, look in enumerate(looks):
        allowed = states[look.done : look.begun + 1]
        for month in MONTHS:
            # Months are switched one by one, and a look asks for them one by one.
            if look.wrong or look.seen.get(month) not in [each.get(month) for each in allowed]:
                rows = look.seen.get(month, Counter()).total()
                found.append(
                    f"look {number}, steps {look.done} to {look.begun}, {month}: "
                    f"{look.wrong or f'{rows} rows'}"
                )
    return found


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Reader:
    """A reader of the lake; nothing but the ledger is written without its having looked before."""
    monkeypatch.syspath_prepend(str(ROOT))  # where a child finds this module
    MergedLake(tmp_path).put(_of(*DAYS))
    reader = Reader(tmp_path)

    def before(what: str) -> None:
        if "_ledger/" not in what:
            reader.wait(what)

    for name, method in told_storage(before).items():
        monkeypatch.setattr(Storage, name, method)
    return reader


def test_readers_see_every_row_once_at_every_moment(reader: Reader, tmp_path: Path) -> None:
    lake = MergedLake(tmp_path)
    try:
        for step in STEPS:
            with reader.step():
                step.do(lake)
            assert _look(lake) == _seen_after(step.files), step.name
    finally:
        looks = reader.looks()
    states = [{}, *(_seen_after(step.files) for step in STEPS)]
    assert _complaints(looks, states) == []
    during = Counter(look.begun for look in looks if look.begun > look.done)
    assert min(during[number + 1] for number in range(len(STEPS))) > 5
    assert all(any(look.seen == state for look in looks) for state in states)
