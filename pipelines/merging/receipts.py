"""Receipts: what each merged file is made of, as JSON beside the lake's data.

A generation is described by its receipts alone, so that a later merge need not read its files.
Source: campaign-workers, "Merge Statistics".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, astuple, fields
from typing import Any

from pipelines.merging.layout import MERGED, RECEIPTS
from pipelines.merging.parts import MergedFile, Problem, Segment, SourceSaid
from pipelines.storage import Storage

_READERS = 16
_SEGMENT = tuple(each.name for each in fields(Segment))


def receipt_key(file: str) -> str:
    """Return where the receipt of a merged file is.

    >>> receipt_key("merged/candidate/2017-03/g000001-ab/candidate_2017_03_01-000-cd.avro")
    'receipts/candidate/2017-03/g000001-ab/candidate_2017_03_01-000-cd.json'
    """
    return RECEIPTS + file.removeprefix(MERGED).removesuffix(".avro") + ".json"


def receipt(
    file: MergedFile,
    sources: Sequence[SourceSaid],
    problems: Iterable[Problem],
    about: dict[str, Any],
) -> bytes:
    """Return a receipt as it is stored.

    ``about`` is what is said of the whole merge. ``statistics`` are the document's. Segments are
    arrays, in the order that ``segmentFields`` gives: there can be thousands.
    """
    month = file.key.split("/")[2]
    days = sorted(file.days)
    period = days[0] if file.kind == "daily" and days else month
    record_type = file.key.split("/")[1]
    document = {
        **about,
        "recordType": record_type,
        "month": month,
        "kind": file.kind,
        "output": {
            "key": file.key,
            "size": file.size,
            "etag": file.etag,
            "schemaVersion": file.version,
            "codec": file.codec,
            "records": file.records,
            "digest": file.digest,
        },
        "sources": [asdict(source) for source in sources],
        "problems": [asdict(problem) for problem in problems],
        "statistics": {
            "filePrefix": f"{record_type}/{period.replace('-', '/')}",
            "mergedFileKey": file.key,
            "count": {"records": file.records, "files": len(sources)},
        },
        "segmentFields": list(_SEGMENT),
        "segments": [astuple(segment) for segment in file.segments],
    }
    return (json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n").encode()


def merged_file(document: dict[str, Any]) -> MergedFile:
    """Return the file that a receipt speaks of."""
    names, output = document["segmentFields"], document["output"]
    segments = tuple(
        Segment(**dict(zip(names, each, strict=True))) for each in document["segments"]
    )
    return MergedFile(
        output["key"],
        document["kind"],
        output["size"],
        output["etag"],
        output["schemaVersion"],
        output["codec"],
        segments,
        receipt_key(output["key"]),
    )


def sources_of(document: dict[str, Any]) -> tuple[SourceSaid, ...]:
    """Return the sources that a receipt names."""
    return tuple(SourceSaid(**said) for said in document["sources"])


def read_receipt(storage: Storage, key: str) -> dict[str, Any]:
    """Return a receipt; raises ObjectNotFound."""
    document: dict[str, Any] = json.loads(storage.read(key))
    return document


def read_receipts(storage: Storage, keys: Sequence[str]) -> tuple[MergedFile, ...]:
    """Return the files of a generation, in the order of ``keys``; many are read at a time."""
    with ThreadPoolExecutor(_READERS) as pool:
        return tuple(pool.map(lambda key: merged_file(read_receipt(storage, key)), keys))
