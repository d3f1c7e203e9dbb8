"""One digest for all that is plain data: settings, plans, inputs."""

from __future__ import annotations

import hashlib
import json


def digest(said: object) -> str:
    """Return the SHA-256 (hex) of plain data; the order of keys does not count.

    >>> digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": 2})
    True
    """
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
