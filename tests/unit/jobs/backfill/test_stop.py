from __future__ import annotations

import logging
import signal
import threading

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


def test_work_goes_on_to_the_next_batch(number: signal.Signals = signal.SIGINT) -> None:
    done = []
    with Stop() as stop, pytest.raises(KeyboardInterrupt), stop.deferred():
        PROGRESS.info("batch")
        signal.raise_signal(number)
        done.append("what was under way")
        PROGRESS.info("batch")
        done.append("the next piece")
    assert done == ["what was under way"]


def test_work_that_tells_of_nothing_is_interrupted_at_its_end() -> None:
    done = []
    with Stop() as stop, pytest.raises(KeyboardInterrupt):
        with stop.deferred():
            signal.raise_signal(signal.SIGTERM)
            done.append("all of it")
        done.append("more")
    assert done == ["all of it"]


def test_a_second_signal_does_not_wait() -> None:
    done = []
    with Stop() as stop, pytest.raises(KeyboardInterrupt), stop.deferred():
        signal.raise_signal(signal.SIGINT)
        done.append("one")
        signal.raise_signal(signal.SIGINT)
        done.append("two")
    assert done == ["one"]


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
