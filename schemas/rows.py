"""Rows on the wire to frames, without trust in the bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import polars as pl
from polars_avro import AvroError
from polars_avro._avro_rs import AvroSource

from schemas.compression import Undecodable
from schemas.container import SYNC_SIZE, Buffer, header_bytes, put_long
from schemas.witness import PATTERN, witness_bytes

_SYNC = bytes(SYNC_SIZE)


class RowDecoder:
    """Decodes rows of one reduced schema.

    All rows and the witnesses behind them become one block and are asked for as one batch: the
    library spins for ever when it is asked for more after a block whose bytes are not used up,
    which is why its public functions, that always ask once more, are not used.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        self._preamble = header_bytes(json.dumps(schema), "null", _SYNC)
        self._witness = witness_bytes(schema)
        self._expected: dict[tuple[str, ...] | None, pl.DataFrame] = {}

    def decode(
        self, payloads: Sequence[Buffer], rows: int, columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Return the ``rows`` rows that ``payloads`` hold one after the other, in order.

        Raises Undecodable when they hold other than exactly that.
        """
        frame = self._batch(payloads, rows, columns)
        if not frame.tail(len(PATTERN)).equals(self._witnesses(columns)):
            raise Undecodable(f"its bytes are not the {rows} rows that it declares")
        return frame.head(rows)

    def _witnesses(self, columns: Sequence[str] | None) -> pl.DataFrame:
        key = None if columns is None else tuple(columns)
        if key not in self._expected:
            self._expected[key] = self._batch([], 0, columns)
        return self._expected[key]

    def _batch(
        self, payloads: Sequence[Buffer], rows: int, columns: Sequence[str] | None
    ) -> pl.DataFrame:
        rows += len(PATTERN)
        size = sum(len(payload) for payload in payloads) + len(self._witness)
        prefix = self._preamble + put_long(rows) + put_long(size)
        file = b"".join([prefix, *payloads, self._witness, _SYNC])
        names = None if columns is None else list(columns)
        try:
            # The batches must outlive the call: when they go, they take its exception with them.
            batches = AvroSource([lambda: BytesIO(file)], False, False).batch_iter(rows, names)
            frame = pl.DataFrame(next(batches))
        except (AvroError, StopIteration, pl.exceptions.PolarsError, ValueError) as error:
            raise Undecodable(str(error)) from error
        except BaseException as error:
            # A panic of the decoder is no Exception, and its class cannot be imported.
            if type(error).__name__ != "PanicException":
                raise
            raise Undecodable(str(error)) from error
        if frame.height != rows:
            raise Undecodable(f"{frame.height} rows where {rows} were declared")
        return frame if names is None else frame.select(names)
