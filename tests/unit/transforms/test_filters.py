from __future__ import annotations

import pickle
from datetime import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from conf.program import ExpressionRule, Filter, FilterChain, FunctionRule, LookupRule
from transforms.errors import (
    ExpressionRefused,
    FilterFailed,
    FunctionNotFound,
    MissingLookup,
    NotBoolean,
    UnknownColumn,
)
from transforms.filters import Filters, columns_read
from transforms.kernel import UnitContext

CONTEXT = UnitContext("reviews", "2017-03-01", "run", datetime(2017, 3, 1, 23, 59, 59, 999_000))
ROWS = pl.DataFrame(
    {
        "_row": pl.Series([0, 1, 2, 3, 4], dtype=pl.UInt32),
        "customerId": ["a", "b", "c", "d", "e"],
        "quantity": [1, 0, None, 5, 50],
        "country": ["US", "US", "CA", "FR", None],
    }
)
SANE = ExpressionRule(expression="quantity BETWEEN 1 AND 50")
KNOWN = LookupRule(column="country", table="countries", key="code")
COUNTRIES = {("countries", "code"): pl.Series(["CA ", "US", None, "US"])}


def rule(filter_id: str, order: int, parameters: Any, *, enabled: bool = True) -> Filter:
    return Filter(
        filter_id=filter_id,
        filter_type="TRUST",
        enabled=enabled,
        order=order,
        reason_code=filter_id.upper(),
        reason=f"not {filter_id}",
        parameters=parameters,
    )


def chain(*rules: Filter, together: bool = True) -> FilterChain:
    return FilterChain(filters=rules, parallel_execution=together)


def verdicts(kernel: Filters, rows: pl.DataFrame = ROWS) -> dict[int, str]:
    split = kernel(rows, CONTEXT)
    reasons = dict(split.rejected.select("_row", "filterId").iter_rows())
    return dict.fromkeys(split.passed["_row"], "") | reasons


@pytest.mark.parametrize("together", [True, False])
def test_only_true_passes_and_the_first_failure_by_order_names_the_reason(together: bool) -> None:
    rules = (rule("known", 2, KNOWN), rule("sane", 1, SANE))
    kernel = Filters(chain(*rules, together=together), COUNTRIES)
    assert verdicts(kernel) == {0: "", 1: "sane", 2: "sane", 3: "known", 4: "known"}
    rejected = kernel(ROWS, CONTEXT).rejected.row(0, named=True)
    assert rejected == {
        "_row": 1,
        "customerId": "b",
        "subjectType": None,
        "subjectId": None,
        "marketplace": None,
        "filterId": "sane",
        "filterType": "TRUST",
        "reason": "not sane",
        "reasonCode": "SANE",
    }


def test_a_disabled_filter_does_not_run() -> None:
    off = chain(rule("never", 1, ExpressionRule(expression="false"), enabled=False))
    assert verdicts(Filters(off)) == dict.fromkeys(range(5), "")


def test_a_constant_expression_holds_for_every_row() -> None:
    never = chain(rule("never", 1, ExpressionRule(expression="1 > 2")))
    assert verdicts(Filters(never)) == dict.fromkeys(range(5), "never")


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pl.Series([7, 8, None], dtype=pl.Int32), pl.Series([7], dtype=pl.Int64)),
        (pl.Series([7, 8, None], dtype=pl.Int64), pl.Series([" 7 "])),
        (pl.Series(["7", "8", None]), pl.Series([7, None], dtype=pl.UInt8)),
        (pl.Series(["7", "8", None], dtype=pl.Categorical), pl.Series(["7"])),
    ],
)
def test_lookups_compare_across_types(column: pl.Series, values: pl.Series) -> None:
    rows = pl.DataFrame({"_row": pl.Series([0, 1, 2], dtype=pl.UInt32), "id": column})
    known = rule("known", 1, LookupRule(column="id", table="t", key="k"))
    kernel = Filters(chain(known), {("t", "k"): values})
    assert verdicts(kernel, rows) == {0: "", 1: "known", 2: "known"}


def test_an_empty_lookup_rejects_every_row() -> None:
    empty = {("countries", "code"): pl.Series([], dtype=pl.String)}
    kernel = Filters(chain(rule("known", 1, KNOWN)), empty)
    assert verdicts(kernel) == dict.fromkeys(range(5), "known")


def test_an_expression_may_rely_on_the_filters_before_it() -> None:
    rows = pl.DataFrame({"_row": pl.Series([0, 1], dtype=pl.UInt32), "n": ["12", "x"]})
    digits = rule("digits", 1, ExpressionRule(expression="n ~ '^[0-9]+$'"))
    large = rule("large", 2, ExpressionRule(expression="CAST(n AS INT) > 10"))
    assert verdicts(Filters(chain(digits, large)), rows) == {0: "", 1: "digits"}
    with pytest.raises(FilterFailed, match="filter 'large'"):
        Filters(chain(large))(rows, CONTEXT)


def quantity_below(frame: pl.DataFrame, limit: int) -> pl.Series:
    return frame["quantity"] < limit


def sees_sane_rows_alone(frame: pl.DataFrame) -> pl.Series:
    assert frame["quantity"].to_list() == [1, 5, 50]
    return pl.Series([True, None, False])


def breaks(frame: pl.DataFrame) -> pl.Series:
    raise LookupError("no such luck")


def one_answer(frame: pl.DataFrame) -> pl.Series:
    return pl.Series([True])


def function(name: str, **arguments: Any) -> FunctionRule:
    return FunctionRule(function=f"filter_functions:{name}", arguments=arguments)


@pytest.fixture(autouse=True)
def _functions(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import ModuleType

    module = ModuleType("filter_functions")
    for filter_function in (quantity_below, sees_sane_rows_alone, one_answer, breaks):
        setattr(module, filter_function.__name__, filter_function)
    monkeypatch.setitem(sys.modules, "filter_functions", module)


def test_a_function_sees_the_survivors_and_only_true_passes() -> None:
    rules = (
        rule("sane", 1, SANE),
        rule("seen", 2, function("sees_sane_rows_alone")),
        rule("known", 3, KNOWN),
    )
    kernel = Filters(chain(*rules), COUNTRIES)
    assert verdicts(kernel) == {0: "", 1: "sane", 2: "sane", 3: "seen", 4: "seen"}
    assert kernel(ROWS, CONTEXT).rejected["_row"].to_list() == [1, 2, 3, 4]


def test_a_function_gets_its_arguments() -> None:
    below = chain(rule("below", 1, function("quantity_below", limit=5)))
    assert verdicts(Filters(below)) == {0: "", 1: "", 2: "below", 3: "below", 4: "below"}


def test_a_function_answers_for_every_row() -> None:
    with pytest.raises(NotBoolean, match=r"filter 'one'.*5 rows.*1 rows"):
        Filters(chain(rule("one", 1, function("one_answer"))))(ROWS, CONTEXT)


def test_a_function_that_breaks_is_named() -> None:
    with pytest.raises(FilterFailed, match=r"filter 'bad'.*LookupError: no such luck"):
        Filters(chain(rule("bad", 1, function("breaks"))))(ROWS, CONTEXT)


@pytest.mark.parametrize("path", ["no_such_module:f", "polars:no_such_function"])
def test_a_function_that_is_not_there_is_refused_at_once(path: str) -> None:
    with pytest.raises(FunctionNotFound, match=f"filter 'fun'.*{path}"):
        Filters(chain(rule("fun", 1, FunctionRule(function=path))))


def test_a_lookup_that_is_not_there_is_refused_at_once() -> None:
    with pytest.raises(MissingLookup, match=r"filter 'known'.*countries"):
        Filters(chain(rule("known", 1, KNOWN)))


def test_an_expression_that_sees_other_rows_is_refused_at_once() -> None:
    with pytest.raises(ExpressionRefused, match="filter 'top'"):
        Filters(chain(rule("top", 1, ExpressionRule(expression="quantity = MAX(quantity)"))))


def test_an_unknown_column_is_named() -> None:
    with pytest.raises(UnknownColumn, match=r"filter 'sane'.*'quantity'.*'country'"):
        Filters(chain(rule("sane", 1, SANE)))(ROWS.drop("quantity"), CONTEXT)


def test_an_outcome_that_is_no_boolean_is_refused() -> None:
    with pytest.raises(NotBoolean, match=r"filter 'sum'.*Int64"):
        Filters(chain(rule("sum", 1, ExpressionRule(expression="quantity + 1"))))(ROWS, CONTEXT)


def test_columns_read_are_those_of_active_expressions_and_lookups() -> None:
    rules = (
        rule("known", 2, KNOWN),
        rule("sane", 1, SANE),
        rule("off", 3, ExpressionRule(expression="other > 1"), enabled=False),
        rule("below", 4, function("quantity_below", limit=5)),
    )
    assert columns_read(chain(*rules)) == ("country", "quantity")


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, 0, 1, 4, 5, 51]), st.sampled_from(["US", "CA", "FR", None])
        ),
        max_size=12,
    ),
    st.integers(0, 12),
    st.booleans(),
)
def test_cutting_frames_changes_nothing_and_no_row_is_lost(
    rows: list[tuple[Any, ...]], cut: int, together: bool
) -> None:
    types = {"quantity": pl.Int64, "country": pl.String}
    frame = pl.DataFrame(rows, schema=types, orient="row").with_row_index("_row")
    rules = (
        rule("sane", 1, SANE),
        rule("below", 2, function("quantity_below", limit=5)),
        rule("known", 3, KNOWN),
    )
    kernel = Filters(chain(*rules, together=together), COUNTRIES)
    whole = kernel(frame, CONTEXT)
    copy = pickle.loads(pickle.dumps(kernel))
    parts = [copy(frame[:cut], CONTEXT), copy(frame[cut:], CONTEXT)]
    assert_frame_equal(whole.passed, pl.concat([p.passed for p in parts]))
    assert_frame_equal(whole.rejected, pl.concat([p.rejected for p in parts]))
    kept, turned = whole.passed["_row"].to_list(), whole.rejected["_row"].to_list()
    assert kept == sorted(kept)
    assert turned == sorted(turned)
    assert sorted(kept + turned) == list(range(len(rows)))
