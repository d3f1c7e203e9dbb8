"""What makes a source bad while it is read, and not the merge."""

from __future__ import annotations

from pipelines.errors import ObjectChanged, ObjectNotFound
from pipelines.merging.errors import NotVerified, Unmergeable
from pipelines.merging.layout import archived
from pipelines.merging.parts import Piece, Problem
from pipelines.storage import Storage
from schemas.errors import CorruptBlock, NotAnAvroFile

BAD = (Unmergeable, CorruptBlock, NotAnAvroFile, ObjectNotFound, ObjectChanged)


def problem_of(storage: Storage, piece: Piece, error: Exception) -> Problem:
    """Return what one of ``BAD`` says of a piece.

    Raises:
        NotVerified: left out, rows that count already would be gone. It is of a merged file; or it
            was merged meanwhile, and this is a task or a run that was given up and goes on: what
            it writes takes the place of what is published.
    """
    if piece.fragment is None:
        raise NotVerified(piece.key, f"found its merged file damaged: {error}") from error
    if isinstance(error, ObjectNotFound) and storage.look(archived(piece.key)) is not None:
        raise NotVerified(piece.key, "found it in the archive: merged meanwhile") from error
    return Problem(piece.key, piece.fragment.version, _what(error))


def _what(error: Exception) -> str:
    if isinstance(error, ObjectNotFound):
        return "expected a file, found none: it vanished since it was planned"
    if isinstance(error, ObjectChanged):
        return f"expected the version that was planned, found another: {error}"
    return str(error)
