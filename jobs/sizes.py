"""Numbers of bytes as people read them."""

from __future__ import annotations


def size_text(count: float) -> str:
    """Return a number of bytes in a unit that keeps it short.

    >>> size_text(999), size_text(1_500), size_text(214_000_000)
    ('999 B', '1.5 kB', '214 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
