from __future__ import annotations

from typing import Any

import pytest

from conf.environment import Environment
from conf.load import load_environment
from conf.resources import packaged
from conf.shape import shaped

MINIMAL: dict[str, Any] = {
    "name": "test",
    "warehouse": {"url": "duckdb://"},
    "lake": {"root": "s3://bucket/lake"},
    "store": {"url": "sqlite:///{out}/s.sqlite"},
}


def problems(**changes: Any) -> list[tuple[str, str, str]]:
    found = shaped({**MINIMAL, **changes}, Environment, "e.yaml")[1]
    return [(problem.path, problem.expected, problem.found) for problem in found]


def test_defaults() -> None:
    environment, found = shaped(MINIMAL, Environment, "e.yaml")
    assert found == []
    assert environment is not None
    assert environment.warehouse.tables == {}
    assert environment.lake.sync_key is None
    assert environment.runs.beam_options == ("--runner=FnApiRunner",)


def test_local_names_data_that_is_there() -> None:
    local = load_environment("local").with_out("somewhere")
    assert local.store.url == "sqlite:///somewhere/candidates.sqlite"
    assert local.lake.root == "somewhere/lake"
    assert len(local.warehouse.tables) == 8
    for address in local.warehouse.tables.values():
        file = packaged(address)
        assert file is not None
        assert file.is_file()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hush@host/db",
        "postgresql://:hush@host/db",
        "postgresql://host/db?user=me&password=hush",
        "postgresql://host/db?sslpassword=hush",
    ],
)
def test_a_password_is_refused_and_not_repeated(url: str) -> None:
    for changes in (
        {"warehouse": {"url": url}},
        {"lake": {"root": url}},
        {"sourceRoot": url},
        {"warehouse": {"url": "duckdb://", "tables": {"t": url}}},
    ):
        (problem,) = problems(**changes)
        assert "PGPASSWORD" in problem[1]
        assert "hush" not in "".join(problem)


def test_a_password_is_not_repeated_by_another_problem() -> None:
    (problem,) = problems(name="postgresql://me:hush@host/db")
    assert problem[2] == "'postgresql://***@host/db'"


@pytest.mark.parametrize("url", ["duckdb://", "sqlite:///a.db", "postgresql://me@host/db"])
def test_known_warehouses(url: str) -> None:
    assert problems(warehouse={"url": url}) == []


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"warehouse": {"url": "host/database"}}, "warehouse.url"),
        ({"warehouse": {"url": "sqlite:///a", "tables": {"t": "t.parquet"}}}, "warehouse"),
        ({"warehouse": {"url": "duckdb://", "tables": {"t; --": "x"}}}, "warehouse.tables.t; --"),
        ({"lake": {"root": "x", "syncKey": "xyz"}}, "lake.syncKey"),
        ({"lake": {"root": "x", "codec": "gzip"}}, "lake.codec"),
        ({"store": {"url": "dynamodb://t"}}, "store.url"),
        ({"runs": {"shards": 0}}, "runs.shards"),
        ({"runs": {"threads": "2"}}, "runs.threads"),
        ({"name": None}, "name"),
    ],
)
def test_a_wrong_setting_is_named(changes: dict[str, Any], path: str) -> None:
    assert [problem[0] for problem in problems(**changes)] == [path]


def test_codec_null_is_the_codec_called_null() -> None:
    environment, _ = shaped(
        {**MINIMAL, "lake": {"root": "x", "codec": None}}, Environment, "e.yaml"
    )
    assert environment is not None
    assert environment.lake.codec == "null"
