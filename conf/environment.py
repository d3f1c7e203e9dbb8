"""What an environment is: where rows are read, where candidates and records go, and how runs work.

Source: the design's "Environments". No setting may carry a secret: an address with a password in it
is refused, and the message does not repeat it.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Annotated, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from conf.program import Identifier, Settings

_SECRET = re.compile(r"password|passwd|pwd|secret|token", re.IGNORECASE)
_MIB = 1 << 20


def _without_secret(address: str) -> str:
    parts = urlsplit(address)
    if parts.password or any(_SECRET.search(key) for key, _ in parse_qsl(parts.query)):
        raise PydanticCustomError(
            "secret",
            "an address with a password in it",
            {
                "expected": "an address without a password (use PGPASSWORD or a service file)",
                "given": "one with a password",
            },
        )
    return address


def _with_scheme(*schemes: str) -> AfterValidator:
    known = " or ".join(f"{scheme}://" for scheme in schemes)

    def check(address: str) -> str:
        if not address.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise PydanticCustomError("scheme", "another kind", {"expected": f"a URL of {known}"})
        return address

    return AfterValidator(check)


Address = Annotated[str, Field(min_length=1), AfterValidator(_without_secret)]
TableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
AvroCodec = Annotated[
    Literal["snappy", "zstandard", "deflate", "null"],
    BeforeValidator(lambda codec: "null" if codec is None else codec),
]


class Warehouse(Settings):
    """The database that programs query.

    ``tables`` gives DuckDB its views: a name and the Parquet behind it, which is a path, a pattern,
    a URL or ``package:<package>/<file>`` for data that an installed package carries.
    """

    url: Annotated[Address, Field(pattern=r"^[a-z][a-z0-9]*://")]
    tables: Annotated[dict[TableName, Address], Field(default_factory=dict)]

    @model_validator(mode="after")
    def _tables_of_duckdb(self) -> Self:
        if self.tables and not self.url.startswith("duckdb://"):
            raise PydanticCustomError(
                "tables", "tables over files", {"expected": "tables only with a duckdb:// url"}
            )
        return self


class Lake(Settings):
    """Where Avro records go; without ``sync_key`` (hex) each lake draws its own and keeps it."""

    root: Address
    sync_key: Annotated[str, Field(pattern=r"^([0-9a-f]{2}){16,64}$")] | None = None
    codec: AvroCodec = "snappy"


class Store(Settings):
    """Where candidates are kept for serving; ``store: null`` leaves them in the lake alone."""

    url: Annotated[Address, _with_scheme("sqlite")]


class Estimates(Settings):
    """What a unit is taken to need before any unit of its program has run.

    ``rows_per_second`` are rows read, on one worker; ``written_share`` of them become candidates;
    ``bytes_per_row`` of all records go to the lake for a row that is read.
    """

    rows_per_second: Annotated[float, Field(gt=0)] = 25_000
    written_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    bytes_per_row: Annotated[float, Field(ge=0)] = 30


class Runs(Settings):
    """How the work of a run is cut; no setting changes which rows a run writes.

    ``frame_rows`` and ``split_bytes`` decide where blocks and fragments are cut, so they count as
    part of a run's configuration.

    At most ``units_per_run`` days go into one pipeline run, and no more than hold ``rows_per_run``
    rows (a day with more runs alone): that bounds the memory. A unit that failed for something out
    of reach is tried again up to ``retries`` times, after 1, 2, 4, ... seconds. A run that gives no
    sign of life for ``lease_seconds`` loses its units to the next. ``frame_rows`` rows go into a
    frame, ``read_days`` days into one query; files over ``split_bytes`` bytes are read in ranges;
    keyed work is spread over ``shards``; ``threads`` decode ahead and encode behind.
    """

    units_per_run: Annotated[int, Field(gt=0)] = 92
    rows_per_run: Annotated[int, Field(gt=0)] = 4_000_000
    retries: Annotated[int, Field(ge=0, le=10)] = 5
    lease_seconds: Annotated[int, Field(ge=5, le=3600)] = 120
    estimates: Estimates = Estimates()
    frame_rows: Annotated[int, Field(gt=0)] = 65536
    read_days: Annotated[int, Field(gt=0)] = 14
    split_bytes: Annotated[int, Field(ge=_MIB)] = 64 * _MIB
    shards: Annotated[int, Field(gt=0, le=4096)] = 16
    threads: Annotated[int, Field(gt=0, le=64)] = 2
    beam_options: tuple[str, ...] = ("--runner=FnApiRunner",)


class FileCatalog(Settings):
    """Pointer files in the lake: for a lake that no catalog service knows."""

    kind: Literal["files"] = "files"


class GlueCatalog(Settings):
    """Tables of the Glue data catalog, as Athena reads them; they must be there already.

    With ``projection`` a table finds its partitions by its own properties, not by the catalog's.
    """

    kind: Literal["glue"]
    database: TableName
    table_prefix: Annotated[str, Field(pattern=r"^[a-z0-9_]*$")] = ""
    projection: bool = False


class HiveCatalog(Settings):
    """Tables of the Hive metastore that Spark is connected to; needs ``--engine spark``."""

    kind: Literal["hive"]
    database: TableName
    table_prefix: Annotated[str, Field(pattern=r"^[a-z0-9_]*$")] = ""


class Merges(Settings):
    """How fragments are merged (campaign-workers, "Data Consolidation Rules"; trap 8).

    Files are to have about ``target_bytes``, and never more than ``limit_bytes``: what would have
    more is split (``oversize: split``) or refused, as the document has it (``reject``).
    Files of an older schema are refused (``schema_policy: current-only``, the document's) or
    rewritten (``resolve``). Files that came after their day was merged wait until they are
    ``late_ratio`` of its bytes. ``archive_days`` is how long sources are kept at least.
    ``threads`` files are written at a time.
    """

    target_bytes: Annotated[int, Field(gt=0)] = 256 * 1000**2
    limit_bytes: Annotated[int, Field(gt=0)] = 1200 * 1000**2
    oversize: Literal["split", "reject"] = "split"
    schema_policy: Literal["current-only", "resolve"] = "current-only"
    late_ratio: Annotated[float, Field(ge=0, le=1)] = 0.01
    archive_days: Annotated[int, Field(ge=0)] = 7
    threads: Annotated[int, Field(gt=0, le=16)] = 2

    @model_validator(mode="after")
    def _target_within_limit(self) -> Self:
        if self.target_bytes * 3 // 2 > self.limit_bytes:
            raise PydanticCustomError(
                "target",
                "a target near the limit",
                {"expected": "limitBytes of at least 1.5 times targetBytes"},
            )
        return self


class Environment(Settings):
    """An environment as its YAML file says it; ``{out}`` in an address is the run's folder.

    ``prices`` names the price table that plans are reckoned with.
    """

    name: Identifier
    warehouse: Warehouse
    source_root: Address | None = None
    lake: Lake
    store: Store | None
    catalog: Annotated[FileCatalog | GlueCatalog | HiveCatalog, Field(discriminator="kind")] = (
        FileCatalog()
    )
    merges: Merges = Merges()
    runs: Runs = Runs()
    prices: str = "local"

    def with_out(self, out: str | PurePath) -> Environment:
        """Return this environment with ``{out}`` filled in.

        >>> from conf.load import load_environment
        >>> load_environment("local").with_out("demo").lake.root
        'demo/lake'
        """

        def filled(value: object) -> object:
            if isinstance(value, dict):
                return {key: filled(inner) for key, inner in value.items()}
            return value.replace("{out}", str(out)) if isinstance(value, str) else value

        return Environment.model_validate({k: filled(v) for k, v in self.model_dump().items()})
