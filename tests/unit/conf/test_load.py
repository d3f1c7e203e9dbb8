from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from conf.digest import digest
from conf.errors import ConfigurationError, Problem
from conf.load import (
    environment_names,
    load_environment,
    load_program,
    model_bytes,
    program_names,
)

SOURCE = files("conf").joinpath("programs/product-reviews.yaml").read_text("utf-8")
Change = Callable[[dict[str, Any]], object]


def problems_of(tmp_path: Path, change: Change) -> list[tuple[str, str, str]]:
    """Return (path, expected, found) of all that is refused in the packaged program, changed."""
    data = yaml.safe_load(SOURCE)
    change(data)
    file = tmp_path / "program.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    with pytest.raises(ConfigurationError) as refused:
        load_program(file)
    assert all(problem.file == str(file) for problem in refused.value.problems)
    return [(p.path, p.expected, p.found) for p in refused.value.problems]


def test_packaged_names() -> None:
    assert program_names() == ("product-reviews",)
    assert environment_names() == ("local",)


def test_a_copy_at_a_path_is_the_same_program(tmp_path: Path) -> None:
    copied = tmp_path / "mine.yaml"
    copied.write_text(SOURCE)
    assert load_program(copied) == load_program("product-reviews")


@pytest.mark.parametrize("name", ["nope", "../programs/product-reviews", "local", ""])
def test_an_unknown_name_lists_the_known(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"expected .*product-reviews.*found"):
        load_program(name)


def test_every_problem_is_listed_in_one_message(tmp_path: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        del data["programName"]
        data["chanels"] = data.pop("channels")
        data["candidateTTLDays"] = "30"
        data["filterChain"]["filters"][2]["order"] = True
        data["filterChain"]["filters"][0]["parameters"]["expression"] = "quantity BETWEEN 1 AND"
        data["bands"]["score"] = "respons"

    found = problems_of(tmp_path, change)
    paths = sorted(path for path, _, _ in found)
    assert paths == [
        "bands.score",
        "candidateTTLDays",
        "chanels",
        "channels",
        "filterChain.filters[0].parameters.expression",
        "filterChain.filters[2].order",
        "programName",
    ]
    assert ("candidateTTLDays", "a valid integer", "'30'") in found


@pytest.mark.parametrize(
    ("change", "path", "expected", "found"),
    [
        (lambda d: d.update(marketplaces=["US", "us"]), "marketplaces[1]", "^[A-Z]{2}$", "'us'"),
        (lambda d: d.update(marketplaces=["US", "US"]), "marketplaces", "distinct", "'US' 2 times"),
        (
            lambda d: d["dataConnectors"][0].update(marketplace="GB"),
            "dataConnectors[0].marketplace",
            "one of the program's marketplaces ['US']",
            "'GB'",
        ),
        (
            lambda d: d["dataConnectors"][0].update(connectorType="kafka"),
            "dataConnectors[0].connectorType",
            "'warehouse', 'avro'",
            "'kafka'",
        ),
        (
            lambda d: d["dataConnectors"][0].pop("connectorType"),
            "dataConnectors[0].connectorType",
            "the key is required",
            "none",
        ),
        (lambda d: d["capacity"].update(score="x"), "capacity.score", "'response'", "'x'"),
        (
            lambda d: d["channels"].append(d["channels"][0]),
            "channels",
            "items of distinct channelId",
            "'email' 2 times",
        ),
        (
            lambda d: d["scoringModels"].append(d["scoringModels"][1]),
            "scoringModels",
            "items of distinct modelId",
            "'value' 2 times",
        ),
        (
            lambda d: d["experiments"].append(d["experiments"][0]),
            "experiments",
            "items of distinct experimentId",
            "'wording' 2 times",
        ),
        (
            lambda d: d["dataConnectors"].append(d["dataConnectors"][0]),
            "dataConnectors",
            "items of distinct sourceId",
            "'transactions' 2 times",
        ),
        (
            lambda d: d["experiments"][0]["treatments"][0].update(treatmentId="thank-you-first"),
            "experiments[0].treatments",
            "items of distinct treatmentId",
            "'thank-you-first' 2 times",
        ),
        (
            lambda d: d["scoringModels"][1]["coefficients"].update(spend=0.1),
            "scoringModels[1].coefficients",
            "features.columns",
            "'spend'",
        ),
        (
            lambda d: d["features"]["columns"].remove("recencyDays"),
            "scoringModels[0].features",
            "names among features.columns or ",
            "'recencyDays'",
        ),
        (
            lambda d: d["scoringModels"][0].update(path="models/absent.onnx"),
            "scoringModels[0].path",
            "a file that exists",
            "'models/absent.onnx'",
        ),
        (
            lambda d: d["scoringModels"][0].update(path="package:no_such_package/x.onnx"),
            "scoringModels[0].path",
            "a file that exists",
            "'package:no_such_package/x.onnx'",
        ),
        (
            lambda d: d["channels"][1].update(eligible="SELECT 1"),
            "channels[1].eligible",
            "a SQL expression",
            "'SELECT 1'",
        ),
        (
            lambda d: d["filterChain"]["filters"][1].update(parameters={"expresion": "true"}),
            "filterChain.filters[1].parameters",
            "expression; or column, table and key; or function",
            "a map",
        ),
        (
            lambda d: d["filterChain"]["filters"][1]["parameters"].pop("key"),
            "filterChain.filters[1].parameters.key",
            "the key is required",
            "none",
        ),
        (
            lambda d: d["filterChain"].update(filters=d["filterChain"]["filters"] * 2),
            "filterChain",
            "must be unique",
            "a map",
        ),
        (
            lambda d: d["bands"]["tiers"][2].update(atLeast=float("nan")),
            "bands.tiers[2].atLeast",
            "a finite number",
            "nan",
        ),
        (
            lambda d: d.update(marketplaceOverrides={"GB": {}}),
            "marketplaceOverrides.GB",
            "one of the program's marketplaces",
            "'GB'",
        ),
        (
            lambda d: d.update(marketplaceOverrides={"US": {"programId": "other"}}),
            "marketplaceOverrides.US.programId",
            "a key that may differ",
            "programId",
        ),
        (
            lambda d: d.update(marketplaceOverrides={"US": {"capacity": {"perCustomer": 0}}}),
            "marketplaceOverrides.US: capacity.perCustomer",
            "greater than 0",
            "0",
        ),
        (
            lambda d: d.update(marketplaceOverrides={"US": {"bands": {"score": "x"}}}),
            "marketplaceOverrides.US: bands.score",
            "the modelId of a scoring model",
            "'x'",
        ),
    ],
)
def test_one_problem_is_named_and_nothing_else(
    tmp_path: Path, change: Change, path: str, expected: str, found: str
) -> None:
    problems = problems_of(tmp_path, change)
    assert {problem[0] for problem in problems} == {path}, problems
    assert expected in problems[0][1]
    assert found in problems[0][2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected a map, found nothing"),
        ("a: [1", "expected YAML, found"),
        ("a: !!python/object:os.system {}", "expected YAML, found could not determine"),
        ("- a", "found a list of 1 items"),
        ("just text", "found 'just text'"),
        ("a: &x [*x]", "expected plain YAML data"),
    ],
)
def test_text_that_is_no_program_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "program.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        load_program(file)
    assert expected in str(refused.value)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"programName: caf\xe9")
    for file in (tmp_path / "absent.yaml", latin):
        with pytest.raises(ConfigurationError, match="expected a readable UTF-8 file"):
            load_program(file)


def test_a_repeated_key_is_a_problem_beside_the_others(tmp_path: Path) -> None:
    file = tmp_path / "program.yaml"
    file.write_text(SOURCE.replace("order: 30", "order: 30\n      order: x"))
    with pytest.raises(ConfigurationError) as refused:
        load_program(file)
    repeated, mistyped = refused.value.problems
    assert repeated.path == mistyped.path == "filterChain.filters[2].order"
    assert repeated.expected == "each key once"
    assert mistyped.found == "'x'"


def test_model_bytes_of_packaged_and_own_programs(tmp_path: Path) -> None:
    packaged = files("conf").joinpath("models/response.onnx").read_bytes()
    assert model_bytes("product-reviews", "package:conf/models/response.onnx") == packaged
    assert model_bytes("product-reviews", "models/response.onnx") == packaged
    (tmp_path / "m.onnx").write_bytes(b"model")
    assert model_bytes(tmp_path / "p.yaml", "m.onnx") == b"model"
    with pytest.raises(ConfigurationError, match="expected a model file"):
        model_bytes(tmp_path / "p.yaml", "n.onnx")


def test_what_decides_is_what_is_said_and_not_how(tmp_path: Path) -> None:
    data = yaml.safe_load(SOURCE)
    file = tmp_path / "program.yaml"
    reordered = {**dict(reversed(data.items())), "reactiveEnabled": False}
    file.write_text("# no comment\n" + yaml.safe_dump(reordered))
    program = load_program("product-reviews")
    assert digest(load_program(file).deciding()) == digest(program.deciding())
    changed = copy.deepcopy(data)
    changed["capacity"]["perCustomer"] = 4
    file.write_text(yaml.safe_dump(changed))
    assert digest(load_program(file).deciding()) != digest(program.deciding())


def test_environment_of_a_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    with files("conf").joinpath("environments/local.yaml").open("rb") as source:
        file.write_bytes(source.read())
    assert load_environment(file) == load_environment("local")
    shutil.copy(file, tmp_path / "broken.yaml")
    (tmp_path / "broken.yaml").write_text(file.read_text().replace("frameRows", "rows"))
    with pytest.raises(ConfigurationError) as refused:
        load_environment(tmp_path / "broken.yaml")
    broken = str(tmp_path / "broken.yaml")
    assert refused.value.problems == (Problem(broken, "runs.rows", "no such key", "it"),)
