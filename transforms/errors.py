"""What can be wrong with a kernel or with what it is given, apart from the rows themselves."""

from __future__ import annotations


class TransformError(Exception):
    """Base of every error that transforms raise."""


class DuplicateFeatures(TransformError):
    """A feature store has two rows for one customer and day."""

    def __init__(self, customer_id: str, day: str, rows: int) -> None:
        super().__init__(
            f"features: expected one row for customer '{customer_id}' on {day}, found {rows}"
        )


class MissingFeature(TransformError):
    """A feature that is needed is in no column."""

    def __init__(self, needed_by: str, missing: list[str], found: list[str]) -> None:
        super().__init__(f"{needed_by}: expected feature columns {missing}, found {found}")


class FeatureNotNumeric(TransformError):
    """A feature's column holds no numbers."""

    def __init__(self, needed_by: str, column: str, found: object) -> None:
        super().__init__(f"{needed_by}: expected numbers in feature '{column}', found {found}")


class ColumnTaken(TransformError):
    """A column that a kernel adds is there already."""

    def __init__(self, stage: str, taken: list[str]) -> None:
        super().__init__(f"{stage}: columns {taken} are already in the frame; rename the source's")


class ModelNotLoaded(TransformError):
    """A model file is not what it should be."""

    def __init__(self, model_id: str, path: str, reason: str) -> None:
        super().__init__(f"model '{model_id}': {path} does not load: {reason}")


class ScoresMalformed(TransformError):
    """A scoring provider returned something other than one number a row."""

    def __init__(self, model_id: str, expected: str, found: str) -> None:
        super().__init__(f"model '{model_id}': expected {expected}, found {found}")


class MissingScore(TransformError):
    """The column of the score that a kernel works on is not in the frame."""

    def __init__(self, stage: str, column: str, found: list[str]) -> None:
        super().__init__(f"{stage}: expected column '{column}', found {found}")


class MissingColumn(TransformError):
    """A column that a source's field mappings name is not in the source."""

    def __init__(self, source: str, column: str, found: list[str]) -> None:
        super().__init__(f"source '{source}': expected column '{column}', found {found}")


class UnmappableColumn(MissingColumn):
    """A mapped column is there, of a type that its field cannot be made from."""

    def __init__(self, source: str, column: str, field: str, found: object) -> None:
        TransformError.__init__(
            self, f"source '{source}': column '{column}' cannot become {field}: found {found}"
        )


class UnknownColumn(TransformError):
    """A filter or a channel reads a column that the rows do not have."""

    def __init__(self, reader: str, column: str, found: list[str]) -> None:
        super().__init__(f"{reader}: expected column '{column}', found {found}")


class ExpressionRefused(TransformError):
    """An expression is no SQL, or its outcome depends on more than the row that it looks at."""

    def __init__(self, reader: str, expression: str, reason: str) -> None:
        super().__init__(f"{reader}: expression {expression!r} refused: {reason}")


class NotBoolean(TransformError):
    """A filter or a channel gave something other than one true, false or null a row."""

    def __init__(self, reader: str, expected: str, found: object) -> None:
        super().__init__(f"{reader}: expected {expected}, found {found}")


class MissingLookup(TransformError):
    """The table that a filter looks into was not given to it."""

    def __init__(self, reader: str, lookup: tuple[str, str], found: list[tuple[str, str]]) -> None:
        super().__init__(f"{reader}: expected lookup {lookup}, found {found}")


class FunctionNotFound(TransformError):
    """A filter names a function that cannot be imported."""

    def __init__(self, reader: str, function: str, reason: str) -> None:
        super().__init__(f"{reader}: expected function '{function}', found none: {reason}")


class FilterFailed(TransformError):
    """A filter could not be evaluated over its rows."""

    def __init__(self, reader: str, reason: str) -> None:
        super().__init__(f"{reader}: could not be evaluated: {reason}")


class MissingValue(TransformError):
    """Rows that are to be recorded have no value in a required field."""

    def __init__(self, record: str, column: str, rows: int) -> None:
        super().__init__(f"{record}: expected a value in '{column}', found {rows} rows without")
