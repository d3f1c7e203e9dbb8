"""Addresses of files that installed packages carry: ``package:<package>/<file>``."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

_PREFIX = "package:"


def packaged(address: str) -> Traversable | None:
    """Return the file that a ``package:`` address names, and None for any other address.

    The file need not exist; ModuleNotFoundError says that the package is not installed.

    >>> packaged("package:conf/environments/local.yaml").name
    'local.yaml'
    >>> packaged("data/local.yaml") is None
    True
    """
    if not address.startswith(_PREFIX):
        return None
    package, _, name = address[len(_PREFIX) :].partition("/")
    return files(package).joinpath(name)
