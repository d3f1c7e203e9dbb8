"""One candidate ready to be stored: canonical content, and all that tables and indexes need.

Made from a frame by expressions (``entry_frame``) or from one item (``entry_of_item``); a test
holds the two against each other.
"""

from __future__ import annotations

import hashlib
import json
import math
from datetime import datetime
from typing import Any, NamedTuple, cast

from pipelines.errors import InvalidItem
from pipelines.sinks.store import Item, key_of
from pipelines.sinks.store_keys import (
    CandidateKey,
    channel_key,
    created_key,
    date_key,
    escape,
    score_key,
)

#: Attributes that are stored as one JSON object; a frame's columns have the same names.
CONTENT = ("attributes", "context", "metadata", "rejectionHistory", "scores", "subject")

#: Fields of ``metadata`` that the store keeps beside the content, because merges change them.
COUNTED = ("updatedAt", "version")


class Entry(NamedTuple):
    """What a store keeps of a candidate; ``digest`` tells contents apart.

    ``channel_prefix`` and each of ``channels`` make a partition key of the ProgramChannelIndex.
    """

    pk: str
    sk: str
    content: str
    digest: str
    created_at: str
    updated_at: str
    version: int
    ttl: int
    date_pk: str
    date_sk: str
    updated_pk: str
    score_sk: str
    channel_prefix: str
    channels: list[str]

    def updated(self, program_id: str, updated_at: str, version: int) -> Entry:
        """Return the entry with another ``updatedAt`` and version."""
        updated_pk = date_key(program_id, updated_at[:10])
        return self._replace(updated_at=updated_at, updated_pk=updated_pk, version=version)


def entry_of_item(item: Item, ranked_by: str) -> Entry:
    """Return the entry of ``item``, its version and ``updatedAt`` as they are.

    Raises ``InvalidItem`` when it contradicts its own key or ``ttl``, or cannot be JSON.
    """
    key = key_of(item)
    try:
        return _entry(item, key, ranked_by)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidItem(f"{key}: not a candidate: {type(error).__name__}: {error}") from error


def _entry(item: Item, key: CandidateKey, ranked_by: str) -> Entry:
    _check_identity(item, key)
    metadata = item["metadata"]
    created, updated, program = metadata["createdAt"], metadata["updatedAt"], key.program_id
    score = item["scores"].get(ranked_by, {"value": 0.0})["value"]
    if not 0.0 <= score <= 1.0:
        raise InvalidItem(f"{key}: expected a ranking score in 0..1, found {score}")
    eligible = item["attributes"]["channelEligibility"]
    content = _content(item)
    return Entry(
        pk=item["PK"],
        sk=item["SK"],
        content=content,
        digest=hashlib.sha256(content.encode()).hexdigest()[:16],
        created_at=created,
        updated_at=updated,
        version=metadata["version"],
        ttl=item["ttl"],
        date_pk=date_key(program, created[:10]),
        date_sk=created_key(created, key.customer_id),
        updated_pk=date_key(program, updated[:10]),
        score_sk=score_key(score, key.customer_id),
        channel_prefix=channel_key(program, ""),
        channels=[escape(each) for each in sorted(eligible) if eligible[each]],
    )


def _content(item: Item) -> str:
    body = {name: cast(dict[str, Any], item)[name] for name in CONTENT}
    body["metadata"] = {k: v for k, v in item["metadata"].items() if k not in COUNTED}
    return dumps(body)


def item_of(
    pk: str, sk: str, content: str, updated_at: str, version: int, ttl: int, units: list[str]
) -> Item:
    """Return the item of what the store kept; objects have their keys in order."""
    body = json.loads(content)
    metadata = {**body["metadata"], "updatedAt": updated_at, "version": version}
    return Item(
        PK=pk,
        SK=sk,
        context=body["context"],
        subject=body["subject"],
        scores=body["scores"],
        attributes=body["attributes"],
        metadata=dict(sorted(metadata.items())),
        rejectionHistory=body["rejectionHistory"],
        ttl=ttl,
        units=sorted(units),
    )


def dumps(value: object) -> str:
    """Return canonical JSON: keys sorted, no blanks, text as it is, no NaN (``ValueError``)."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _check_identity(item: Item, key: CandidateKey) -> None:
    def context(kind: str) -> str | None:
        return next((c["id"] for c in item["context"] if c["type"] == kind), None)

    subject, expires = item["subject"], datetime.fromisoformat(item["metadata"]["expiresAt"])
    found = (context("program"), context("marketplace"), subject["type"], subject["id"])
    expected = (key.program_id, key.marketplace_id, key.subject_type, key.subject_id)
    if found != expected:
        raise InvalidItem(f"{key}: expected context and subject {expected}, found {found}")
    if item["ttl"] != math.floor(expires.timestamp()):
        raise InvalidItem(f"{key}: expected the ttl of {expires}, found {item['ttl']}")
