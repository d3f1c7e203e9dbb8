"""Files too large for one merged file, cut at the boundaries of their blocks."""

from __future__ import annotations

from itertools import pairwise

from pipelines.errors import PipelineError
from pipelines.merging.packing import parts
from pipelines.merging.parts import Fragment, Piece
from pipelines.storage import Storage
from schemas.container import SYNC_SIZE, find_sync, read_header
from schemas.errors import NotAnAvroFile

_WINDOW = 1 << 20


def cut(storage: Storage, fragment: Fragment, target: int) -> tuple[Piece, ...]:
    """Return a fragment as pieces of about ``target`` bytes, each beginning with a block.

    Only bytes around the cuts are read. A file that cannot be cut stays one piece: whoever reads
    it finds out why.
    """
    count = parts(fragment.size, target)
    whole = (Piece(fragment=fragment),)
    if count == 1:
        return whole
    try:
        head = storage.read_range(fragment.key, 0, min(_WINDOW, fragment.size), etag=fragment.etag)
        header = read_header(head)
        ends = {
            _block_after(storage, fragment, header.sync, fragment.size * n // count)
            for n in range(1, count)
        }
    except (PipelineError, NotAnAvroFile):
        return whole
    at = sorted({header.length, *ends, fragment.size})
    return tuple(Piece(fragment=fragment, start=start, end=end) for start, end in pairwise(at))


def _block_after(storage: Storage, fragment: Fragment, sync: bytes, position: int) -> int:
    """Return where a block begins: the first whose marker begins at ``position`` or later."""
    at = position
    while at < fragment.size:
        end = min(at + _WINDOW, fragment.size)
        found = find_sync(storage.read_range(fragment.key, at, end, etag=fragment.etag), sync)
        if found >= 0:
            return at + found + SYNC_SIZE
        if end == fragment.size:
            break
        at = end - SYNC_SIZE + 1
    return fragment.size
