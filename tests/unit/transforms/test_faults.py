from __future__ import annotations

import polars as pl
from polars.testing import assert_frame_equal

from transforms.faults import Reason, split_by_first_fault
from transforms.kernel import REJECTION_SCHEMA

REASONS = (Reason("a", "TRUST", "no a", "NO_A"), Reason("b", "QUALITY", "no b", "NO_B"))
ROWS = pl.DataFrame(
    {"_row": [0, 1, 2, 3], "customerId": ["w", "x", None, "z"], "other": [1, 2, 3, 4]},
    schema_overrides={"_row": pl.UInt32},
)


def test_the_first_fault_names_the_reason_and_null_is_none() -> None:
    faults = pl.DataFrame({"f": [False, True, None, True], "g": [None, True, True, False]})
    split = split_by_first_fault(ROWS, faults, REASONS)
    assert_frame_equal(split.passed, ROWS.head(1))
    assert split.rejected.schema == REJECTION_SCHEMA
    assert split.rejected.select("_row", "customerId", "subjectId", "filterId").rows() == [
        (1, "x", None, "a"),
        (2, None, None, "b"),
        (3, "z", None, "a"),
    ]
    assert split.rejected.select("filterType", "reason", "reasonCode").rows() == [
        ("TRUST", "no a", "NO_A"),
        ("QUALITY", "no b", "NO_B"),
        ("TRUST", "no a", "NO_A"),
    ]


def test_rows_without_fault_pass_untouched() -> None:
    faults = pl.DataFrame({"f": [False] * 4, "g": [None] * 4}, schema_overrides={"g": pl.Boolean})
    split = split_by_first_fault(ROWS, faults, REASONS)
    assert split.passed is ROWS
    assert split.rejected.is_empty()
    assert split.rejected.schema == REJECTION_SCHEMA


def test_no_rows() -> None:
    faults = pl.DataFrame(schema={"f": pl.Boolean, "g": pl.Boolean})
    split = split_by_first_fault(ROWS.clear(), faults, REASONS)
    assert (split.passed.height, split.rejected.height) == (0, 0)
