from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.workers import map_ahead


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as made:
        yield made


def test_results_come_in_the_order_of_their_items(pool: ThreadPoolExecutor) -> None:
    def slower_first(n: int) -> int:
        time.sleep(0.002 * (5 - n % 5))
        return n * n

    assert list(map_ahead(pool, slower_first, range(20), 3)) == [n * n for n in range(20)]


@pytest.mark.parametrize("ahead", [0, 1, 4])
def test_no_more_items_are_taken_than_may_be_ahead(pool: ThreadPoolExecutor, ahead: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for n in range(50):
            taken += 1
            yield n

    for given, _ in enumerate(map_ahead(pool, abs, items(), ahead), 1):
        assert taken <= given + ahead


def test_an_error_comes_at_its_place_and_what_waits_is_dropped(pool: ThreadPoolExecutor) -> None:
    done: list[int] = []
    release = threading.Event()

    def work(n: int) -> int:
        if n == 2:
            raise ValueError("two")
        if n > 2:
            release.wait(5)
        done.append(n)
        return n

    results = map_ahead(pool, work, range(100), 8)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    release.set()
    pool.shutdown()
    assert len(done) < 10


def test_nothing_gives_nothing(pool: ThreadPoolExecutor) -> None:
    assert list(map_ahead(pool, abs, [], 3)) == []
