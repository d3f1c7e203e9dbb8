"""Which versions of what computes a unit were installed.

They are told in the ledger, so that it can be found out later whether an upgrade made a difference.
"""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version

_LIBRARIES = (
    "apache-beam",
    "duckdb",
    "onnxruntime",
    "polars",
    "polars-avro",
    "polars-hash",
    "pyarrow",
)


@cache
def libraries() -> dict[str, str]:
    """Return the version of Python and of each library, by name."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
