"""A new generation of a month: its place, the files that are carried into it, its receipts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from pipelines.merging.errors import NotVerified
from pipelines.merging.layout import MERGED, RECEIPTS
from pipelines.merging.parts import MergedFile, Output, Piece, Problem, SourceSaid
from pipelines.merging.receipts import (
    read_receipt,
    receipt,
    receipt_key,
    sources_of,
)
from pipelines.storage import Storage

_AT_ONCE = 16
File = tuple[MergedFile, tuple[SourceSaid, ...]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a generation's files and receipts are; ``number`` counts them from 1."""

    record_type: str
    month: str
    number: int
    digest: str

    @property
    def name(self) -> str:
        """The folder's own name: by its number, and by what the generation is made of.

        Two merges that make something else never write to one place, even when one of them is a
        process that was thought dead.
        """
        return f"g{self.number:06d}-{self.digest}"

    @property
    def location(self) -> str:
        """The folder of its files."""
        return f"{MERGED}/{self.record_type}/{self.month}/{self.name}"

    @property
    def receipts(self) -> str:
        """The folder of its receipts."""
        return f"{RECEIPTS}/{self.record_type}/{self.month}/{self.name}"


def place_of(
    record_type: str,
    month: str,
    number: int,
    settings: Mapping[str, Any],
    carried: Sequence[MergedFile],
    outputs: Sequence[Output],
) -> Place:
    """Return where a generation goes that is made by ``settings`` of these files and outputs."""
    said = {
        "settings": dict(settings),
        "carried": [[file.name, file.digest] for file in carried],
        "outputs": [[o.stem, o.kind, [_said(piece) for piece in o.pieces]] for o in outputs],
    }
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return Place(record_type, month, number, hashlib.sha256(text.encode()).hexdigest()[:12])


def _said(piece: Piece) -> list[object]:
    """Return what of a piece decides the bytes: a local ETag does not, it is never the same."""
    if piece.fragment is not None:
        known = piece.fragment.sha256 or piece.fragment.size
        return [piece.key, known, piece.start, piece.end]
    assert piece.segment is not None, "a piece is of a fragment or of a merged file"
    return [piece.key, piece.segment.digest, piece.segment.start, None]


def carry(storage: Storage, files: Sequence[MergedFile], place: Place) -> list[File]:
    """Let the storage copy files into a generation; returns them with the sources they have.

    Raises:
        NotVerified: a copy is of another size than its original.
        ObjectNotFound, StorageFailed: a file cannot be copied.
    """

    def one(file: MergedFile) -> File:
        key = f"{place.location}/{file.name}"
        sources = sources_of(read_receipt(storage, file.receipt))
        storage.copy(file.key, key)
        found = storage.look(key)
        if found is None or found.size != file.size:
            raise NotVerified(key, f"copied {file.size:,} bytes, found {found and found.size}")
        return replace(file, key=key, etag=found.etag, receipt=receipt_key(key)), sources

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(one, files))


def write_receipts(
    storage: Storage,
    files: Iterable[File],
    problems: Sequence[Problem],
    about: dict[str, Any],
) -> list[str]:
    """Write the receipts of files; returns their keys, sorted."""

    def one(each: File) -> str:
        file, sources = each
        storage.write(file.receipt, [receipt(file, sources, problems, about)])
        return file.receipt

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return sorted(pool.map(one, files))


def remove_strays(
    storage: Storage, place: Place, files: Iterable[MergedFile], check: Callable[[], None]
) -> None:
    """Remove what an attempt that died left in a generation's place and this one does not make.

    ``check`` raises when another run holds the unit by now; it is asked before anything goes.
    """
    keep = {file.key for file in files} | {file.receipt for file in files}
    folders = (place.location, place.receipts)
    strays = [o.key for at in folders for o in storage.list(at) if o.key not in keep]
    staged = [path for at in folders for path in storage.staged(at)]
    if strays or staged:
        check()
        storage.delete(strays)
        for path in staged:
            path.unlink(missing_ok=True)
