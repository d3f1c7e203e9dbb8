from __future__ import annotations

import logging
import signal
import threading
from contextlib import suppress

import pytest

from jobs.backfill.stop import Stop

PROGRESS = logging.getLogger("muster.progress")
SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def _told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="muster.progress")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_interrupts_and_is_remembered(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Stop() as stop:
        stop.check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            stop.check()
    assert signal.getsignal(number) == before


def done_when(*signals: signal.Signals, told: bool = True) -> list[str]:
    """Do two pieces of work, telling of each, with a signal after each; return what was done."""
    done = []
    with suppress(KeyboardInterrupt), Stop() as stop:
        with stop.deferred():
            for piece, number in zip(("one", "two"), signals, strict=True):
                signal.raise_signal(number)
                done.append(piece)
                if told:
                    PROGRESS.info("batch")
        done.append("went on")
    return done


def test_work_goes_on_to_the_next_batch() -> None:
    assert done_when(*SIGNALS) == ["one"]


def test_work_that_tells_of_nothing_is_interrupted_by_a_second_signal() -> None:
    assert done_when(*SIGNALS, told=False) == ["one"]


def test_work_that_tells_of_nothing_is_interrupted_at_its_end() -> None:
    done = []
    with suppress(KeyboardInterrupt), Stop() as stop:
        with stop.deferred():
            signal.raise_signal(signal.SIGTERM)
            done.append("all of it")
        done.append("went on")
    assert done == ["all of it"]


def test_nothing_new_is_begun_after_it_was_asked_for() -> None:
    with Stop() as stop:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), stop.deferred():
            pytest.fail("begun")


def test_outside_its_block_nothing_is_watched() -> None:
    with Stop():
        pass
    PROGRESS.info("batch")
    assert not [h for h in PROGRESS.handlers if type(h).__module__.endswith("backfill.stop")]


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    before, found = signal.getsignal(signal.SIGINT), []

    def run() -> None:
        with Stop():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [before]
