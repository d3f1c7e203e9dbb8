"""Tables over merged Avro files, as Athena and Hive are told of them: statements only, no I/O.

A table's partition column is the month. What a month's partition points to is one generation of
files, and pointing it to the next one is how readers are switched.

Sources: Athena's user guide ("Avro SerDe", "Partition projection"); Hive's AvroSerDe, and Trino's
reader of the same tables, for what becomes of logical types.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.errors import UnsupportedSchema
from schemas.plain import reduce
from schemas.registry import RecordType

#: The partition column of a table whose partitions a catalog knows, and of one that projects them.
MONTH, GENERATION = "month", "generation"

#: The table properties that tell Athena where generations lie, and which of them count.
TEMPLATE = "storage.location.template"
VALUES = f"projection.{GENERATION}.values"

#: Stands where no generation is: a table cannot project an empty list. Its folder is never there.
NOTHING = "none"

_PRIMITIVE = {
    "boolean": "boolean",
    "int": "int",
    "long": "bigint",
    "float": "float",
    "double": "double",
    "string": "string",
    "bytes": "binary",
}
#: Hive and Trino know these two alone: times, microseconds and local timestamps stay numbers.
_LOGICAL = {"date": "date", "timestamp-millis": "timestamp"}

_SERDE = "org.apache.hadoop.hive.serde2.avro.AvroSerDe"
_INPUT = "org.apache.hadoop.hive.ql.io.avro.AvroContainerInputFormat"
_OUTPUT = "org.apache.hadoop.hive.ql.io.avro.AvroContainerOutputFormat"


@dataclass(frozen=True, slots=True)
class Projection:
    """The generations that count, each as ``<month>/<generation>``, a month at most once.

    >>> Projection(("2017-04/g000001-cd", "2017-03/g000003-ab")).values
    '2017-03/g000003-ab,2017-04/g000001-cd'
    >>> Projection().values
    'none'
    """

    generations: tuple[str, ...] = ()

    @property
    def values(self) -> str:
        """The property that is the one pointer of the whole table."""
        return ",".join(sorted(self.generations)) or NOTHING

    @classmethod
    def of(cls, values: str) -> Projection:
        """Return what a table's property says; the inverse of ``values``."""
        return cls(tuple(value for value in values.split(",") if value not in ("", NOTHING)))

    def current(self, month: str) -> str | None:
        """Return the generation of a month, as ``<month>/<generation>``; None if there is none."""
        return next((each for each in self.generations if each.startswith(f"{month}/")), None)

    def switched(self, month: str, generation: str) -> Projection:
        """Return the same with another generation of a month."""
        others = (each for each in self.generations if not each.startswith(f"{month}/"))
        return Projection(tuple(sorted((*others, f"{month}/{generation}"))))

    def properties(self, location: str) -> dict[str, str]:
        """Return the table properties by which Athena finds the generations below ``location``.

        The template must end with a slash; a value may hold one, as dates like 2017/03/01 do.
        """
        return {
            "projection.enabled": "true",
            f"projection.{GENERATION}.type": "enum",
            VALUES: self.values,
            TEMPLATE: f"{_folder(location)}${{{GENERATION}}}/",
        }


def create_table(
    record: RecordType,
    location: str,
    *,
    database: str | None = None,
    table: str | None = None,
    projection: Projection | None = None,
) -> str:
    """Return the statement that makes a record type's table at ``location``, a folder's URL.

    Names are in lower case, as Athena has them whatever is written. The table is named as the
    record type unless ``table`` is given. With ``projection`` its partition column is
    ``generation`` (a month's are those like '2017-03/%'), without it is ``month``.

    Raises:
        InvalidSchema, UnsupportedSchema: as ``reduce`` does, and for names that are not unique in
            lower case or are the partition column's.
    """
    partition = GENERATION if projection is not None else MONTH
    lines = [
        f"CREATE EXTERNAL TABLE IF NOT EXISTS {_table(table or record.name, database)} (",
        ",\n".join(f"  {_quoted(name)} {kind}" for name, kind in _columns(record, partition)),
        ")",
        f"PARTITIONED BY ({_quoted(partition)} string)",
        f"ROW FORMAT SERDE '{_SERDE}'",
        f"WITH SERDEPROPERTIES ({_property('avro.schema.literal', _without_quotes(record.text))})",
        f"STORED AS INPUTFORMAT '{_INPUT}'",
        f"OUTPUTFORMAT '{_OUTPUT}'",
        f"LOCATION {_string(_folder(location))}",
    ]
    if projection is not None:
        properties = projection.properties(location).items()
        inner = ",\n".join(f"  {_property(key, value)}" for key, value in properties)
        lines.append(f"TBLPROPERTIES (\n{inner}\n)")
    return "\n".join(lines)


def add_partition(table: str, month: str, location: str, *, database: str | None = None) -> str:
    """Return the statement that adds a month unless it is there already."""
    where = f"PARTITION ({_quoted(MONTH)} = {_string(month)})"
    name = _table(table, database)
    return f"ALTER TABLE {name} ADD IF NOT EXISTS {where} LOCATION {_string(_folder(location))}"


def set_location(table: str, month: str, location: str, *, database: str | None = None) -> str:
    """Return the statement that switches a month, which must be there, to another folder."""
    where = f"PARTITION ({_quoted(MONTH)} = {_string(month)})"
    return (
        f"ALTER TABLE {_table(table, database)} {where} SET LOCATION {_string(_folder(location))}"
    )


def partition_statements(
    table: str, partitions: Mapping[str, str], *, database: str | None = None
) -> tuple[str, ...]:
    """Return two statements a month that point it to its folder, whatever there was before."""
    return tuple(
        statement(table, month, partitions[month], database=database)
        for month in sorted(partitions)
        for statement in (add_partition, set_location)
    )


def projection_statement(table: str, projection: Projection, *, database: str | None = None) -> str:
    """Return the statement that switches all months of a table that projects them."""
    values = _property(VALUES, projection.values)
    return f"ALTER TABLE {_table(table, database)} SET TBLPROPERTIES ({values})"


def column_type(plain: Any) -> str:
    """Return the type that Athena and Hive read a reduced schema as.

    >>> column_type(["null", {"type": "map", "values": "long"}])
    'map<string,bigint>'
    >>> column_type({"type": "long", "logicalType": "timestamp-micros"})
    'bigint'
    """
    if isinstance(plain, list):
        return column_type(next(branch for branch in plain if branch != "null"))
    if isinstance(plain, str):
        return _PRIMITIVE[plain]
    match plain["type"]:
        case "record":
            fields = ((f["name"].lower(), column_type(f["type"])) for f in plain["fields"])
            return f"struct<{','.join(f'{_quoted(name)}:{kind}' for name, kind in fields)}>"
        case "array":
            return f"array<{column_type(plain['items'])}>"
        case "map":
            return f"map<string,{column_type(plain['values'])}>"
        case "enum":
            return "string"
        case "fixed":
            return "binary"  # with or without a decimal in it: both readers see the bytes alone
        case "bytes" if plain.get("logicalType") == "decimal":
            return f"decimal({plain['precision']},{plain['scale']})"
        case base:
            return _LOGICAL.get(plain.get("logicalType"), _PRIMITIVE[base])


def _columns(record: RecordType, partition: str) -> list[tuple[str, str]]:
    plain = reduce(record.schema).schema
    clashes = list(_clashes(plain, ""))
    names = [field["name"].lower() for field in plain["fields"]]
    if partition in names:
        clashes.append(f"{partition}: is the partition column")
    if clashes:
        raise UnsupportedSchema(record.name, clashes)
    return [(name, column_type(f["type"])) for name, f in zip(names, plain["fields"], strict=True)]


def _clashes(plain: Any, path: str) -> Iterator[str]:
    """Yield what would be one name in lower case, at any depth."""
    if isinstance(plain, list):
        for branch in plain:
            yield from _clashes(branch, path)
    if not isinstance(plain, dict):
        return
    for inner in ("items", "values"):
        yield from _clashes(plain.get(inner), path)
    fields = plain.get("fields", ())
    for name, count in Counter(field["name"].lower() for field in fields).items():
        if count > 1:
            yield f"{path}{name}: names that differ in case alone"
    for field in fields:
        yield from _clashes(field["type"], f"{path}{field['name']}.")


def _table(name: str, database: str | None) -> str:
    parts = [part for part in (database, name) if part]
    return ".".join(_quoted(part.lower()) for part in parts)


def _folder(location: str) -> str:
    return location.rstrip("/") + "/"


def _quoted(name: str) -> str:
    """Every name is quoted: what words are reserved differs between Athena, Hive and Spark."""
    return "`" + name.replace("`", "``") + "`"


def _property(key: str, value: str) -> str:
    return f"{_string(key)} = {_string(value)}"


def _string(text: str) -> str:
    """Return a literal; a backslash escapes, and ``''`` is no quote in Hive's language."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _without_quotes(schema: str) -> str:
    """Return the same JSON without a single quote in it: not every parser reads an escaped one."""
    return schema.replace("'", "\\u0027")
