"""Trying again what failed for something out of reach, with growing delays (property 25)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_result,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

Left = TypeVar("Left")
Sleep = Callable[[float], None]

#: The document's: 1, 2, 4, 8, 16 seconds, and up to one more so that runs do not come all at once.
_FIRST, _LONGEST, _JITTER = 1.0, 16.0, 1.0


def until_nothing_is_left(
    attempt: Callable[[], Left], retries: int, sleep: Sleep = time.sleep, jitter: float = _JITTER
) -> Left:
    """Call ``attempt`` until it returns something empty, ``retries`` more times at most.

    Returns what the last call returned. Before the nth repeat it sleeps 2 ** (n - 1) seconds, at
    most 16, and up to ``jitter`` more.
    """
    wait = wait_exponential(multiplier=_FIRST, max=_LONGEST) + wait_random(0, jitter)
    retrying = Retrying(
        sleep=sleep,
        stop=stop_after_attempt(retries + 1),
        wait=wait,
        retry=retry_if_result(bool),
        retry_error_callback=_last_result,
    )
    left: Left = retrying(attempt)
    return left


def _last_result(state: RetryCallState) -> object:
    assert state.outcome is not None, "a call ended"
    return state.outcome.result()
