from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

import conf
from jobs.days import DateRange
from jobs.errors import WrongUse
from jobs.solicit import SolicitJob, run

HOME = Path(conf.__file__).parent
DAYS = DateRange(date(2017, 3, 1), date(2017, 3, 2))
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
    return SolicitJob.load(*paths, DAYS, folder / "out")


@pytest.fixture
def base(tmp_path: Path) -> SolicitJob:
    return job(tmp_path)


def test_comments_and_the_order_of_keys_do_not_count(base: SolicitJob, tmp_path: Path) -> None:
    packaged = SolicitJob.load("product-reviews", "local", DAYS, tmp_path / "out")
    assert packaged.config_fingerprint == base.config_fingerprint
    assert packaged.run_id == base.run_id


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
    assert other.run_id != base.run_id


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
    assert base.run_id.startswith("solicit-")
    later = replace(base, days=DateRange(DAYS.first, date(2017, 3, 3)))
    assert later.run_id != base.run_id
    assert replace(base, out=Path("elsewhere")).run_id == base.run_id


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


@pytest.mark.parametrize(("size", "waves"), [(1, [1, 1]), (2, [2]), (92, [2])])
def test_units_run_in_waves(tmp_path: Path, size: int, waves: list[int]) -> None:
    made = job(tmp_path, None, lambda said: said["runs"].update(unitsPerRun=size))
    assert [len(wave) for wave in made.waves()] == waves
    assert [unit for wave in made.waves() for unit in wave] == list(DAYS.units)


def test_a_wave_reads_its_look_back_as_evidence(base: SolicitJob) -> None:
    planned = base.solicitation(("2017-03-02",))
    days = [(p.unit, p.emit) for entry in planned.entries for p in entry.parts]
    assert days[-1] == ("2017-03-02", True)
    assert days[0] == ("2017-02-16", False)
    assert [emit for _, emit in days] == [False] * 14 + [True]
    assert planned.publication.ranked_by == "response"


def test_a_disabled_program_runs_nothing(tmp_path: Path) -> None:
    result = run(job(tmp_path, lambda said: said.update(enabled=False)))
    assert [unit.status for unit in result.units] == ["skipped", "skipped"]
    assert not (tmp_path / "out").exists()


def test_files_need_a_place(tmp_path: Path) -> None:
    def edit(said: dict[str, Any]) -> None:
        connector = said["dataConnectors"][0]
        for key in ("tableName", "query", "partition"):
            del connector[key]
        connector.update(connectorType="avro", path="{date}.avro")

    with pytest.raises(WrongUse, match="expected sourceRoot"):
        job(tmp_path, edit).source()
