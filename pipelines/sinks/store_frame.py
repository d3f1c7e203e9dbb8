"""A unit's candidates as the rows that a store keeps, made by expressions over the whole frame."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import polars as pl
import polars_hash as plh

from pipelines.errors import InvalidItem
from pipelines.sinks.canonical_json import ISO, canonical_json, not_finite
from pipelines.sinks.store_entries import CONTENT, COUNTED, Entry

_KEY = ("pk", "sk")


@dataclass(frozen=True, slots=True)
class Difference:
    """How a unit's new content differs from its old: rows of an ``entry_frame``, one a key.

    ``added`` and ``changed`` are new rows, ``withdrawn`` are old ones; ``kept`` keys are equal.
    """

    added: pl.DataFrame
    changed: pl.DataFrame
    withdrawn: pl.DataFrame
    kept: int


def entry_frame(candidates: pl.DataFrame, ranked_by: str) -> pl.DataFrame:
    """Return one row a candidate (``candidate.v1``), sorted by key, then oldest first.

    Columns are the fields of ``Entry``, each a first version (``updatedAt`` is ``createdAt``). The
    ranking score is ``scores[ranked_by].value``, 0 without it. Raises ``InvalidItem``.
    """
    missing = [name for name in ("customerId", *CONTENT) if name not in candidates.columns]
    if missing:
        raise InvalidItem(f"expected the columns of 'candidate', found none named {missing}")
    read = candidates.select(*_fields(candidates.schema, ranked_by))
    _check(read)
    return (
        read.select(*_keys(), *_values())
        .sort("pk", "sk", "created_at", "event_date", "content")
        .with_columns(digest=plh.col("content").chash.sha2_256().str.head(16))
        .select(Entry._fields)
    )


def newest(entries: pl.DataFrame) -> Iterator[Entry]:
    """Yield the last entry of each key of an ``entry_frame``: newest, latest event, then text."""
    return map(Entry._make, _one_a_key(entries).iter_rows(buffer_size=8192))


def difference(old: pl.DataFrame, new: pl.DataFrame) -> Difference:
    """Compare two ``entry_frame`` of a unit key by key; rows stay in the order of keys."""
    old, new = _one_a_key(old), _one_a_key(new)
    touched = new.join(old, on=[*_KEY, "digest"], how="anti", maintain_order="left")
    return Difference(
        added=touched.join(old, on=_KEY, how="anti", maintain_order="left"),
        changed=touched.join(old, on=_KEY, how="semi", maintain_order="left"),
        withdrawn=old.join(new, on=_KEY, how="anti", maintain_order="left"),
        kept=new.height - touched.height,
    )


def _one_a_key(entries: pl.DataFrame) -> pl.DataFrame:
    return entries.unique(_KEY, keep="last", maintain_order=True)


def unit_digest(entries: pl.DataFrame) -> str:
    """Return a digest of an ``entry_frame`` that tells a unit's content from another."""
    rows = pl.concat_str("pk", "sk", "digest", separator="\n")
    return hashlib.sha256("\n".join(entries.select(rows).to_series()).encode()).hexdigest()


def _fields(schema: pl.Schema, ranked_by: str) -> list[pl.Expr]:
    metadata, subject = pl.col("metadata").struct, pl.col("subject").struct
    score = pl.col("scores").map.get(ranked_by).struct.field("value").fill_null(0.0)
    strange = [not_finite(pl.col(name), schema[name]) for name in CONTENT]
    return [
        pl.col("customerId").alias("customer"),
        _context("program"),
        _context("marketplace"),
        subject.field("type").alias("subject_type"),
        subject.field("id").alias("subject_id"),
        metadata.field("createdAt").dt.strftime(ISO).alias("created_at"),
        metadata.field("expiresAt").dt.epoch("ms").floordiv(1000).alias("ttl"),
        pl.col("attributes").struct.field("eventDate").alias("event_date"),
        score.alias("score"),
        _channels(),
        _content(schema),
        pl.any_horizontal(strange).alias("strange"),
    ]


def _check(read: pl.DataFrame) -> None:
    faults = {
        "a context of type 'program' and of type 'marketplace'": (
            pl.col("program").is_null() | pl.col("marketplace").is_null()
        ),
        "finite numbers only": pl.col("strange"),
        "a ranking score in 0..1": pl.col("score").is_between(0.0, 1.0).not_(),
    }
    for expected, fault in faults.items():
        for row in read.filter(fault).head(1).iter_rows(named=True):
            raise InvalidItem(
                f"customer {row['customer']!r}, program {row['program']!r}, "
                f"subject {row['subject_type']} {row['subject_id']!r}: expected {expected}, "
                f"found contexts program {row['program']!r} and marketplace "
                f"{row['marketplace']!r}, ranking score {row['score']}"
            )


def _keys() -> list[pl.Expr]:
    """As ``store_keys`` makes them."""
    customer, program, created = _escaped("customer"), _escaped("program"), pl.col("created_at")
    channels = pl.col("channels").list.eval(_escape(pl.element()))
    date_pk = pl.format("PROGRAM#{}#DATE#{}", program, created.str.head(10))
    marketplace, kind, subject = map(_escaped, ("marketplace", "subject_type", "subject_id"))
    return [
        pl.format("CUSTOMER#{}#PROGRAM#{}#MARKETPLACE#{}", customer, program, marketplace)
        .alias("pk"),
        pl.format("SUBJECT#{}#{}", kind, subject).alias("sk"),
        date_pk.alias("date_pk"),
        date_pk.alias("updated_pk"),
        pl.format("CREATED#{}#CUSTOMER#{}", created, customer).alias("date_sk"),
        pl.format("SCORE#{}#CUSTOMER#{}", _fixed(pl.col("score")), customer).alias("score_sk"),
        pl.format("PROGRAM#{}#CHANNEL#", program).alias("channel_prefix"),
        channels.alias("channels"),
    ]  # fmt: skip


def _values() -> list[pl.Expr]:
    first = pl.lit(1, pl.Int64).alias("version")
    created = pl.col("created_at")
    return [created, created.alias("updated_at"), first, pl.col("ttl", "event_date", "content")]


def _fixed(score: pl.Expr) -> pl.Expr:
    return score.map_batches(
        lambda scores: pl.Series([f"{each:.6f}" for each in scores], dtype=pl.String),
        return_dtype=pl.String,
        is_elementwise=True,
    )


def _escaped(name: str) -> pl.Expr:
    return _escape(pl.col(name))


def _escape(text: pl.Expr) -> pl.Expr:
    return text.str.replace_all("%", "%25", literal=True).str.replace_all("#", "%23", literal=True)


def _context(kind: str) -> pl.Expr:
    element = pl.element()
    ids = element.filter(element.struct.field("type") == kind).struct.field("id")
    return pl.col("context").list.eval(ids).list.first().alias(kind)


def _channels() -> pl.Expr:
    element = pl.element()
    eligible = element.filter(element.struct.field("value")).struct.field("key").sort()
    entries = pl.col("attributes").struct.field("channelEligibility").map.entries()
    return entries.list.eval(eligible).alias("channels")


def _content(schema: pl.Schema) -> pl.Expr:
    fields = cast(pl.Struct, schema["metadata"]).fields
    kept = pl.Struct([field for field in fields if field.name not in COUNTED])
    dtypes = {name: kept if name == "metadata" else schema[name] for name in CONTENT}
    return canonical_json(dtypes).alias("content")
