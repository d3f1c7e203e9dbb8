"""What the headers of fragments say of them, before they are merged: nothing else is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from pipelines.errors import PipelineError
from pipelines.merging.ahead import Stretch, read_ahead
from pipelines.merging.errors import Unmergeable
from pipelines.merging.fragment import Target, path_of
from pipelines.merging.parts import Fragment
from pipelines.storage import Storage
from schemas.container import Header, read_header
from schemas.errors import NotAnAvroFile, TruncatedHeader
from schemas.registry import RecordType

#: Where most headers end, and where all of them do.
_HEAD, _LONG = 1 << 13, 1 << 20

Kind = Literal["unusable", "outdated", "recoded"]


@dataclass(frozen=True, slots=True)
class Odd:
    """A fragment that a merge cannot take as it is, and what was found.

    It is ``unusable`` for any merge, or of an ``outdated`` schema, or its blocks have to be
    compressed anew, by another codec.
    """

    fragment: Fragment
    kind: Kind
    what: str


def odd_headers(
    storage: Storage, fragments: Sequence[Fragment], record: RecordType, codec: str
) -> Iterator[Odd]:
    """Yield the fragments whose headers are not those of the record type's current schema.

    Many are read at a time, and what of them is held is bounded. Raises StorageFailed.
    """
    target = Target(record, codec, b"", "resolve")
    yield from (_empty(f) for f in fragments if not f.size)
    some = [fragment for fragment in fragments if fragment.size]
    heads = (Stretch(f.key, 0, min(_HEAD, f.size), f.etag) for f in some)
    with closing(read_ahead(storage, heads)) as windows:
        for fragment, window in zip(some, windows, strict=True):
            try:
                odd = _judged(_header(storage, fragment, window.data), target)
            except (NotAnAvroFile, Unmergeable) as error:
                odd = ("unusable", str(error))
            except PipelineError as error:
                odd = ("unusable", f"cannot be read: {error}")
            if odd is not None:
                yield Odd(fragment, *odd)


def _empty(fragment: Fragment) -> Odd:
    return Odd(fragment, "unusable", "expected an Avro file, found no bytes")


def _header(storage: Storage, fragment: Fragment, head: memoryview) -> Header:
    try:
        return read_header(head)
    except TruncatedHeader:
        if fragment.size <= _HEAD:
            raise
        end = min(_LONG, fragment.size)
        return read_header(storage.read_range(fragment.key, 0, end, etag=fragment.etag))


def _judged(header: Header, target: Target) -> tuple[Kind, str] | None:
    path, written = path_of(header, target)
    if path == "rewritten":
        record = target.record
        return "outdated", (
            f"expected the current schema {record.name} v{record.version} "
            f"({record.fingerprint[:12]}), found {written.fingerprint[:12]}"
        )
    if path == "repacked":
        return "recoded", f"expected the codec {target.codec}, found {header.codec}"
    return None
