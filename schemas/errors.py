"""Conditions under which a schema, a file or a table is refused."""

from __future__ import annotations

from collections.abc import Iterable


class SchemaError(Exception):
    """Base of everything that this package raises."""


class UnknownRecordType(SchemaError):
    """No schema is registered under that name and version."""


class InvalidSchema(SchemaError):
    """A text that is not an Avro schema."""


class UnsupportedSchema(SchemaError):
    """A valid Avro schema that the fast path cannot carry; names every field and its type."""

    def __init__(self, record: str, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"record '{record}' is not supported: {'; '.join(self.problems)}")


class UnsupportedCodec(SchemaError):
    """A compression codec that is not read or written."""


class NotAnAvroFile(SchemaError):
    """Bytes that do not begin with the header of an Avro container file."""


class TruncatedHeader(NotAnAvroFile):
    """The bytes end before the header does: read more, or the file was cut off."""


class CorruptBlock(SchemaError):
    """A block that cannot be read; ``offset`` is where it begins."""

    def __init__(self, offset: int, error: str) -> None:
        self.offset = offset
        self.error = error
        super().__init__(f"block at byte {offset}: {error}")


class SchemaMismatch(SchemaError):
    """A table or a writer's schema that does not fit; names every difference."""

    def __init__(self, record: str, differences: Iterable[str]) -> None:
        self.differences = tuple(differences)
        super().__init__(f"does not fit record '{record}': {'; '.join(self.differences)}")
