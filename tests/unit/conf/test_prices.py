from __future__ import annotations

import shutil
from datetime import date
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from conf.errors import ConfigurationError
from conf.load import load_prices, price_names
from conf.prices import PriceTable, Usage

PRICES = (
    "puts_per_thousand",
    "gets_per_thousand",
    "write_units_per_million",
    "worker_hour",
    "scanned_per_terabyte",
)
SOURCE = files("conf").joinpath("prices/aws-us-east-1.yaml").read_text("utf-8")
COUNTS = st.integers(0, 10**12)
USAGE = st.builds(Usage, COUNTS, COUNTS, COUNTS, st.floats(0, 1e9), COUNTS)


def table(**prices: float) -> PriceTable:
    said = {"name": "t", "date": date(2026, 11, 25), "currency": "USD", "source": "a test"}
    return PriceTable.model_validate({**said, **dict.fromkeys(PRICES, 0.0), **prices})


def test_packaged_tables_go_by_their_names() -> None:
    assert price_names() == ("aws-us-east-1", "local")
    assert [load_prices(name).name for name in price_names()] == ["aws-us-east-1", "local"]


def test_a_copy_at_a_path_is_the_same_table(tmp_path: Path) -> None:
    copied = tmp_path / "mine.yaml"
    copied.write_text(SOURCE)
    assert load_prices(copied) == load_prices("aws-us-east-1")


def test_the_worker_hour_is_what_its_comment_computes() -> None:
    assert load_prices("aws-us-east-1").worker_hour == round(2 * 0.052624 + 8 * 0.0057785, 6)


@pytest.mark.parametrize(
    ("usage", "price", "cost"),
    [
        (Usage(puts=1_000), "puts_per_thousand", 0.005),
        (Usage(gets=1_000), "gets_per_thousand", 0.0004),
        (Usage(write_units=1_000_000), "write_units_per_million", 0.625),
        (Usage(worker_seconds=3_600), "worker_hour", 0.151476),
        (Usage(scanned_bytes=2**40), "scanned_per_terabyte", 5.0),
    ],
)
def test_each_amount_has_its_price(usage: Usage, price: str, cost: float) -> None:
    assert load_prices("aws-us-east-1").price(usage) == cost
    assert table(**{price: 2.0}).price(usage) == 2.0
    assert table(**dict.fromkeys(PRICES, 2.0) | {price: 0.0}).price(usage) == 0.0


def test_a_price_is_rounded_to_a_millionth() -> None:
    assert table(puts_per_thousand=1 / 3).price(Usage(puts=1_000)) == 0.333333


@given(USAGE)
def test_nothing_is_billed_on_this_machine(usage: Usage) -> None:
    assert load_prices("local").price(usage) == 0.0


@given(USAGE, USAGE)
def test_the_sum_costs_what_its_parts_cost(one: Usage, other: Usage) -> None:
    prices = table(**dict.fromkeys(PRICES, 0.01))
    parts = prices.price(one) + prices.price(other)
    assert prices.price(one + other) == pytest.approx(parts, rel=1e-9, abs=2e-6)
    assert one + Usage() == one


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("putsPerThousand", -0.1, "greater than or equal to 0"),
        ("workerHour", float("inf"), "a finite number"),
        ("workerHour", float("nan"), "a finite number"),
        ("workerHour", "0.1", "a valid number"),
        ("currency", "EUR", "'USD'"),
        ("source", "", "at least 1 character"),
        ("date", "today", "a valid date"),
        ("name", "Not a name", "pattern"),
        ("getPerThousand", 0.1, "no such key"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, key: str, value: object, expected: str) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(SOURCE), key: value}))
    with pytest.raises(ConfigurationError) as refused:
        load_prices(file)
    (problem,) = refused.value.problems
    assert (problem.file, problem.path) == (str(file), key)
    assert expected in problem.expected


def test_a_price_that_is_not_said_is_not_free(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    shutil.copy(str(files("conf").joinpath("prices/local.yaml")), file)
    file.write_text(file.read_text().replace("workerHour: 0\n", ""))
    with pytest.raises(ConfigurationError, match="workerHour: expected a value"):
        load_prices(file)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ConfigurationError, match=r"expected .*aws-us-east-1, local.*'gcp'"):
        load_prices("gcp")
