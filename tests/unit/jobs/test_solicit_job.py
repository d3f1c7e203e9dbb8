from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import conf
from jobs.backfill.work import Wave
from jobs.days import days_before
from jobs.errors import WrongUse
from jobs.solicit import SolicitJob

HOME = Path(conf.__file__).parent
SPAN = ("2017-03-01", "2017-03-02")
Edit = Callable[[dict[str, Any]], object]


def job(folder: Path, program: Edit | None = None, environment: Edit | None = None) -> SolicitJob:
    """Load the packaged settings with changes made to them."""
    paths = []
    for name, edit in (("programs/product-reviews", program), ("environments/local", environment)):
        said = yaml.safe_load((HOME / f"{name}.yaml").read_text())
        if edit:
            edit(said)
        path = folder / f"{Path(name).name}.yaml"
        path.write_text(yaml.safe_dump(said, sort_keys=True))
        paths.append(str(path))
    return SolicitJob.load(*paths, folder / "out")


@pytest.fixture
def base(tmp_path: Path) -> SolicitJob:
    return job(tmp_path)


def test_comments_and_the_order_of_keys_do_not_count(base: SolicitJob, tmp_path: Path) -> None:
    packaged = SolicitJob.load("product-reviews", "local", tmp_path / "out")
    assert packaged.config_fingerprint == base.config_fingerprint
    assert packaged.run_id(*SPAN) == base.run_id(*SPAN)


@pytest.mark.parametrize(
    "edit",
    [
        lambda said: said.update(candidateTTLDays=31),
        lambda said: said["dedupe"].update(windowHours=1),
        lambda said: said["capacity"].update(perCustomer=4),
        lambda said: said["scoringModels"][1].update(intercept=0.06),
        lambda said: said["filterChain"]["filters"][0].update(enabled=False),
        lambda said: said["filterChain"]["filters"][0].update(reason="other words"),
        lambda said: said["experiments"][0].update(salt="other"),
        lambda said: said["channels"].reverse(),
        lambda said: said["dataConnectors"][0].update(quarantineThreshold=0.5),
    ],
)
def test_what_a_program_decides_by_counts(base: SolicitJob, tmp_path: Path, edit: Edit) -> None:
    other = job(tmp_path, edit)
    assert other.config_fingerprint != base.config_fingerprint
    assert other.run_id(*SPAN) != base.run_id(*SPAN)


@pytest.mark.parametrize(
    "edit",
    [
        lambda said: said["lake"].update(codec="zstandard"),
        lambda said: said["runs"].update(frameRows=1000),
        lambda said: said["runs"].update(splitBytes=1 << 20),
    ],
)
def test_what_changes_the_bytes_of_files_counts(
    base: SolicitJob, tmp_path: Path, edit: Edit
) -> None:
    assert job(tmp_path, None, edit).config_fingerprint != base.config_fingerprint


@pytest.mark.parametrize(
    "edit",
    [
        lambda said: said["runs"].update(threads=1),
        lambda said: said["runs"].update(shards=3),
        lambda said: said["runs"].update(readDays=1),
        lambda said: said["runs"].update(unitsPerRun=1),
        lambda said: said.update(store=None),
    ],
)
def test_how_work_is_cut_does_not_count(base: SolicitJob, tmp_path: Path, edit: Edit) -> None:
    assert job(tmp_path, None, edit).config_fingerprint == base.config_fingerprint


def test_a_model_counts_by_its_bytes(base: SolicitJob) -> None:
    (path,) = base.models
    other = replace(base, models={path: base.models[path] + b" "})
    assert other.config_fingerprint != base.config_fingerprint


def test_a_run_is_named_by_what_was_asked(base: SolicitJob) -> None:
    assert base.run_id(*SPAN).startswith("solicit-")
    assert base.run_id("2017-03-01", "2017-03-03") != base.run_id(*SPAN)
    assert replace(base, out=Path("elsewhere")).run_id(*SPAN) == base.run_id(*SPAN)


@pytest.mark.parametrize(
    "edit",
    [
        lambda said: said.update(enabled=False),
        lambda said: said.update(batchSchedule="0 6 * * *"),
        lambda said: said.update(lateData={"lookbackDays": 3}),
        lambda said: said.update(onCompletion=["merge"]),
        lambda said: said["dataConnectors"][0]["partition"].update(digest="count(*)"),
    ],
)
def test_when_and_whether_to_run_does_not_count(
    base: SolicitJob, tmp_path: Path, edit: Edit
) -> None:
    assert job(tmp_path, edit).config_fingerprint == base.config_fingerprint


def test_code_counts_by_what_decides_the_output(base: SolicitJob) -> None:
    assert {"transforms.filters", "schemas.codec", "pipelines.sinks.lake"} <= set(base.code.modules)
    assert not [name for name in base.code.modules if name.startswith("jobs")]
    assert set(base.code.data) == {"candidate", "rejection", "quarantine"}


def test_a_filter_of_ones_own_counts(
    tmp_path: Path, base: SolicitJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    filters = tmp_path / "filters_of_ones_own.py"

    def edit(said: dict[str, Any]) -> None:
        rule = {"function": "filters_of_ones_own:sane"}
        said["filterChain"]["filters"][0].update(parameters=rule)

    filters.write_text("def sane(frame):\n    return frame['quantity'] > 1\n")
    before = job(tmp_path, edit).code
    assert before.fingerprint != base.code.fingerprint
    filters.write_text("def sane(frame):  # a comment\n    return frame['quantity'] > 1\n")
    assert job(tmp_path, edit).code.fingerprint == before.fingerprint
    filters.write_text("def sane(frame):\n    return frame['quantity'] > 2\n")
    assert job(tmp_path, edit).code.fingerprint != before.fingerprint


def test_an_override_has_its_own_model_file(tmp_path: Path) -> None:
    """The file of the same model id, in two marketplaces, is not the same."""
    shutil.copy(HOME / "models" / "response.onnx", tmp_path / "german.onnx")

    def edit(said: dict[str, Any]) -> None:
        said["marketplaces"] = ["US", "DE"]
        models = [dict(model) for model in said["scoringModels"]]
        models[0]["path"] = "german.onnx"
        said["marketplaceOverrides"] = {"DE": {"scoringModels": models}}

    assert sorted(job(tmp_path, edit).models) == [
        "german.onnx",
        "package:conf/models/response.onnx",
    ]


def test_two_connectors_are_refused(tmp_path: Path) -> None:
    def edit(said: dict[str, Any]) -> None:
        said["dataConnectors"].append({**said["dataConnectors"][0], "sourceId": "second"})

    with pytest.raises(WrongUse, match="expected one data connector, found"):
        job(tmp_path, edit)


def evidence(job: SolicitJob, *units: str) -> list[str]:
    wave = Wave({}, {})
    planned = job.solicitation(units, job.publication(wave, {}))
    days = [(part.unit, part.emit) for entry in planned.entries for part in entry.parts]
    assert sorted(day for day, emit in days if emit) == sorted(units)
    assert planned.publication.ranked_by == "response"
    return sorted(day for day, emit in days if not emit)


def test_a_wave_reads_its_look_back_as_evidence(base: SolicitJob) -> None:
    before = list(days_before("2017-03-02", 14))
    assert evidence(base, "2017-03-02") == before
    assert before[0] == "2017-02-16"


def test_days_that_do_not_follow_each_other_have_a_look_back_each(base: SolicitJob) -> None:
    """What lies between them is evidence too, or the later day would find no duplicates."""
    expected = {*days_before("2017-03-02", 14), *days_before("2017-03-22", 14)} - {"2017-03-02"}
    assert evidence(base, "2017-03-02", "2017-03-22") == sorted(expected)
    near = {*days_before("2017-03-02", 14), "2017-03-03", "2017-03-04"}
    assert evidence(base, "2017-03-02", "2017-03-05") == sorted(near)


def test_a_unit_reads_its_rows_its_look_back_features_and_lookups(base: SolicitJob) -> None:
    found = base.inputs(["2017-03-01", "2017-03-02"])
    unit = found["2017-03-01"]
    assert unit.roles["reads"][0].name == "transactions/2017-03-01"
    assert unit.rows == 3881
    assert [item.name for item in unit.roles["lookback"]] == [
        f"transactions/{day}" for day in days_before("2017-03-01", 14)
    ]
    assert [item.name for item in unit.roles["features"]] == ["features/2017-03-01"]
    assert {item.name: item.rows for item in unit.roles["lookups"]} == {
        "demographics.household_id": 801,
        "products.product_id": 92_331,
    }
    assert all(item.version for items in unit.roles.values() for item in items)
    assert found["2017-03-02"].roles["lookback"][-1] == unit.roles["reads"][0]
    assert unit.fingerprint("c", "d") == base.inputs(["2017-03-01"])["2017-03-01"].fingerprint(
        "c", "d"
    )
    assert unit.fingerprint("c", "d") != unit.fingerprint("c", "e")
    assert unit.fingerprint("c", "d") != found["2017-03-02"].fingerprint("c", "d")


def test_a_day_without_rows_is_an_input_too(base: SolicitJob) -> None:
    """So that its rows are noticed when they come."""
    (item,) = base.inputs(["2030-01-01"])["2030-01-01"].roles["reads"]
    assert (item.rows, item.version) == (0, None)


def test_files_need_a_place(tmp_path: Path) -> None:
    def edit(said: dict[str, Any]) -> None:
        connector = said["dataConnectors"][0]
        for key in ("tableName", "query", "partition"):
            del connector[key]
        connector.update(connectorType="avro", path="{date}.avro")

    with pytest.raises(WrongUse, match="expected sourceRoot"):
        job(tmp_path, edit).source()
