"""Candidates as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from pipelines.sinks.store import Item, key_of


def candidate_table(items: Sequence[Item]) -> Table:
    """Return one line a candidate, with every model's score; only lists of words may fold."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    types = {key_of(item).subject_type for item in items}
    models = sorted({model for item in items for model in item["scores"]})
    table.add_column("customer", no_wrap=True)
    table.add_column(types.pop() if len(types) == 1 else "subject", no_wrap=True)
    for model in models:
        table.add_column(model, justify="right", no_wrap=True)
    table.add_column("band", no_wrap=True)
    for name in ("channels", "treatment"):
        table.add_column(name, min_width=len(name))
    for name in ("event", "expires", "v"):
        table.add_column(name, no_wrap=True)
    for item in items:
        table.add_row(*_cells(item, models, typed=len(types) > 0))
    return table


def _cells(item: Item, models: Sequence[str], *, typed: bool) -> list[str]:
    key, attributes, metadata = key_of(item), item["attributes"], item["metadata"]
    scores = (item["scores"].get(model) for model in models)
    channels = (name for name, yes in attributes["channelEligibility"].items() if yes)
    return [
        key.customer_id,
        f"{key.subject_type} {key.subject_id}" if typed else key.subject_id,
        *("" if score is None else f"{score['value']:.4f}" for score in scores),
        metadata.get("band") or "",
        ", ".join(sorted(channels)),
        ", ".join((metadata.get("treatments") or {}).values()),
        attributes["eventDate"][:10],
        metadata["expiresAt"][:10],
        str(metadata["version"]),
    ]
