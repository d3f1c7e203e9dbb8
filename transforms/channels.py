"""Which channels may reach a candidate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from conf.program import Channel
from transforms.errors import NotBoolean
from transforms.expressions import columns_of, require_columns, row_expression
from transforms.kernel import Split, UnitContext, nothing_rejected


@dataclass(frozen=True, slots=True)
class ChannelEligibility:
    """Say for each channel whether it may reach the row (the document's channelEligibility).

    Input: the columns that the channels' ``eligible`` expressions read, of any type. Output: the
    same rows in the same order, with ``channel.<channelId>`` (Boolean, never null) for each
    channel: false where the channel is disabled and where the expression is false or null.
    Rejects nothing. Raises ExpressionRefused, UnknownColumn and NotBoolean, naming the channel.
    """

    channels: tuple[Channel, ...]
    name: ClassVar[str] = "channels"

    def __call__(self, frame: pl.DataFrame, context: UnitContext) -> Split:  # noqa: ARG002
        """Add the columns; see the class."""
        return Split(
            frame.with_columns(_eligible(c, frame) for c in self.channels), nothing_rejected()
        )


def _eligible(channel: Channel, frame: pl.DataFrame) -> pl.Expr:
    name = f"channel.{channel.channel_id}"
    if not channel.enabled:
        return pl.lit(False).alias(name)
    reader = f"channel '{channel.channel_id}'"
    expression = row_expression(reader, channel.eligible)
    require_columns(reader, columns_of(expression), frame)
    dtype = frame.head(0).select(expression.alias(name)).schema[name]
    if dtype != pl.Boolean:
        raise NotBoolean(reader, "Boolean", dtype)
    return expression.fill_null(False).alias(name)


def columns_read(channels: Iterable[Channel]) -> tuple[str, ...]:
    """Return the sorted names of the columns that the enabled channels' expressions read."""
    return tuple(
        sorted(
            {
                column
                for channel in channels
                if channel.enabled
                for column in columns_of(
                    row_expression(f"channel '{channel.channel_id}'", channel.eligible)
                )
            }
        )
    )
