"""Opens the candidate store that a URL names."""

from __future__ import annotations

from pathlib import Path

from pipelines.errors import UnknownStore
from pipelines.sinks.sqlite_store import SqliteStore
from pipelines.sinks.store import CandidateStore

_SQLITE = "sqlite:///"


def open_store(url: str, *, write: bool, ranked_by: str = "response") -> CandidateStore:
    """Open the store at ``url``: ``sqlite:///relative/file`` or ``sqlite:////absolute/file``.

    ``ranked_by`` names the score that orders the channel index. A store that is missing is made
    for writing. Several programs may open a store for writing: they take turns, a transaction
    each. Raises ``UnknownStore``, ``StoreNotFound``, ``NotAStore``, ``StoreUnavailable`` and
    ``StoreBusy`` (when others write for longer than a writer waits, a minute with SQLite).
    """
    if not url.startswith(_SQLITE) or url == _SQLITE:
        raise UnknownStore(
            f"expected a store URL like '{_SQLITE}out/candidates.sqlite', found {url!r}"
        )
    return SqliteStore(Path(url.removeprefix(_SQLITE)), write=write, ranked_by=ranked_by)
