"""Everything that a runner sends to its workers can be sent."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import apache_beam as beam
import cloudpickle
import pytest
from apache_beam.internal import pickler

import pipelines
from conf.load import load_environment, load_program, model_bytes
from conf.program import AvroConnector, OnnxModel
from pipelines.chain import Chain, Purpose
from pipelines.context import RunContext
from pipelines.counting import CountOutput, CountWork
from pipelines.failure import Lookback
from pipelines.lake import LakeSettings
from pipelines.ledger.record import Record
from pipelines.publish import PublishUnits
from pipelines.publisher import Promise, Publication
from pipelines.read import ReadDecided, ReadEntries
from pipelines.sinks.lake import WriteFragments
from pipelines.sinks.quarantine import WriteQuarantine
from pipelines.sources.avro import AvroSource
from pipelines.sources.warehouse import Warehouse, WarehouseSource
from pipelines.step import RunKernels
from pipelines.tables import CandidateTable, RejectionTable
from pipelines.verdicts import Decide, Thin
from schemas.registry import record_type

PROGRAM = load_program("product-reviews")
CONNECTOR = PROGRAM.data_connectors[0]
CONTEXT = RunContext("solicit", "reviews", "f" * 64, "1")
LAKE = LakeSettings("out/lake", "null", "00" * 16)
WAREHOUSE = Warehouse("duckdb://", dict(load_environment("local").warehouse.tables))
MODELS = {
    model.path: model_bytes("product-reviews", model.path)
    for model in PROGRAM.scoring_models
    if isinstance(model, OnnxModel)
}
LOOKBACK = Lookback(("2017-03-01",), 14)
SOURCE = WarehouseSource(WAREHOUSE, CONNECTOR, 14, 100)  # type: ignore[arg-type]
AVRO = AvroSource(
    "in",
    AvroConnector.model_validate(
        {
            "sourceId": "orders",
            "connectorType": "avro",
            "path": "{date}.avro",
            "subjectType": "product",
            "marketplace": "US",
            "fieldMappings": {"customerId": "a", "subjectId": "b", "eventDate": "c"},
        }
    ),
    ("a",),
    100,
    100,
    2,
)


def chain(purpose: Purpose) -> Chain:
    days = ("2017-03-01", "2017-03-02")
    return Chain(PROGRAM, CONNECTOR, WAREHOUSE, MODELS, days, purpose)


UNIT = "solicit/product-reviews/2017-03-01"
LEASES = {"2017-03-01": Record(UNIT, 2, "leased", 1, "run", "at", "f" * 64, "p" * 64)}
PROMISES = {"2017-03-01": Promise({"transactions/2017-03-01": ["1", 3, None]}, 3)}

DOFNS: dict[type[beam.DoFn], Callable[[], beam.DoFn]] = {
    ReadEntries: lambda: ReadEntries(SOURCE, LOOKBACK, "read"),
    ReadDecided: lambda: ReadDecided(AVRO, LOOKBACK, "read"),
    RunKernels: lambda: RunKernels(
        chain(Purpose.OUTPUT), chain(Purpose.EVIDENCE), CONTEXT, CountOutput(PROGRAM), LOOKBACK, 2
    ),
    Decide: lambda: Decide(PROGRAM.dedupe, PROGRAM.capacity, LOOKBACK.units),
    WriteFragments: lambda: WriteFragments(
        LAKE, record_type("candidate"), CandidateTable(PROGRAM, CONNECTOR), CONTEXT, 2
    ),
    WriteQuarantine: lambda: WriteQuarantine(LAKE, record_type("quarantine"), CONTEXT),
    PublishUnits: lambda: PublishUnits(
        Publication(LAKE, "sqlite:///x", "response", 0.01, CONTEXT, LEASES, PROMISES, {"code": "c"})
    ),
}

VALUES = [
    SOURCE,
    AVRO,
    *(chain(purpose) for purpose in Purpose),
    CountOutput(PROGRAM),
    CountWork(),
    CandidateTable(PROGRAM, CONNECTOR),
    RejectionTable(),
    Thin({("2017-03-01", 0): 1}, ("basket_id",), "response", banded=True, shards=16),
]


def subclasses() -> set[type[beam.DoFn]]:
    """Every DoFn that the package defines."""
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(pipelines.__path__, "pipelines.")
    ]
    return {
        each
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type)
        and issubclass(each, beam.DoFn)
        and each.__module__.startswith("pipelines.")
    }


def test_no_step_is_forgotten() -> None:
    assert subclasses() == set(DOFNS)


def through_beam(value: Any) -> Any:
    return pickler.loads(pickler.dumps(value))


def through_cloudpickle(value: Any) -> Any:
    return cloudpickle.loads(cloudpickle.dumps(value))


@pytest.mark.parametrize("there_and_back", [through_beam, through_cloudpickle])
@pytest.mark.parametrize("kind", DOFNS, ids=lambda kind: kind.__name__)
def test_every_step_can_be_sent(kind: type[beam.DoFn], there_and_back: Any) -> None:
    made = DOFNS[kind]()
    back = there_and_back(made)
    assert type(back) is kind
    assert vars(back).keys() == vars(made).keys()


@pytest.mark.parametrize("there_and_back", [through_beam, through_cloudpickle])
@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_every_source_chain_and_rule_can_be_sent(value: Any, there_and_back: Any) -> None:
    back = there_and_back(value)
    assert is_dataclass(value)
    assert back == value
    assert all(getattr(back, f.name) == getattr(value, f.name) for f in fields(value))


def test_a_chain_that_was_sent_builds_its_kernels() -> None:
    kernels = [kernel.name for kernel in through_cloudpickle(chain(Purpose.OUTPUT))()]
    assert kernels == [kernel.name for kernel in chain(Purpose.OUTPUT)()]
