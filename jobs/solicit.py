"""The job ``solicit``: decides, for each day, whom a program may ask.

It reads settings, checks them against the source before anything runs, says what its units read and
write, and makes the units of a wave in one pipeline run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apache_beam as beam
import polars as pl
from apache_beam.options.pipeline_options import PipelineOptions

from conf.digest import digest
from conf.environment import Environment
from conf.load import load_environment, load_program, model_bytes
from conf.prices import PriceTable
from conf.program import AvroConnector, FunctionRule, OnnxModel, Program, WarehouseConnector
from jobs.backfill.plan import ProgramPlan, Request
from jobs.backfill.planning import plan_days
from jobs.backfill.work import UnitInputs, Wave
from jobs.code_fingerprint import Code, code_of
from jobs.days import days_before
from jobs.errors import WrongUse
from jobs.outcomes import chain_of, tiers_of
from pipelines.chain import Chain, Purpose, columns_needed, lookup_query, lookup_rules
from pipelines.context import RunContext
from pipelines.lake import RECORD_TYPES, LakeSettings, fragments
from pipelines.merging.recover import read_fragment
from pipelines.publisher import Publication, Publisher
from pipelines.solicit import Solicitation, build, lookback_days
from pipelines.sources.avro import AvroSource
from pipelines.sources.entry import Source
from pipelines.sources.inputs import Input, differences, input_of
from pipelines.sources.warehouse import Warehouse, WarehouseSource, midnight
from pipelines.step import run_chain
from schemas.registry import record_type
from transforms.verdict import VERDICT

JOB = "solicit"
_PIPELINE = "pipelines.solicit"


@dataclass(frozen=True)
class SolicitJob:
    """A program in an environment: everything that decides what its units are made of and how."""

    program: Program
    environment: Environment
    out: Path
    asked: str
    models: dict[str, bytes] = field(repr=False)

    @classmethod
    def load(cls, program: str, environment: str, out: Path) -> SolicitJob:
        """Read and check the settings.

        Raises:
            ConfigurationError: a file is wrong; every problem is listed.
            WrongUse: the program cannot be run by this job.
        """
        settings = load_program(program)
        if len(settings.data_connectors) > 1:
            names = [connector.source_id for connector in settings.data_connectors]
            raise WrongUse(f"program '{program}': expected one data connector, found {names}")
        settings = _of_connector(settings)
        models = {
            model.path: model_bytes(program, model.path)
            for each in variants(settings)
            for model in each.scoring_models
            if isinstance(model, OnnxModel)
        }
        return cls(settings, load_environment(environment).with_out(out), out, program, models)

    @property
    def job(self) -> str:
        """The job's name."""
        return JOB

    @property
    def enabled(self) -> bool:
        """Whether the program may run (property 32)."""
        return self.program.enabled

    @property
    def late_days(self) -> int:
        """How many days back inputs that grew are done anew."""
        return self.program.late_data.lookback_days if self.program.late_data else 0

    @property
    def connector(self) -> WarehouseConnector | AvroConnector:
        """Where the program's rows come from."""
        return self.program.data_connectors[0]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All settings that decide the bytes of the output."""
        runs = self.environment.runs
        return {
            "program": self.program.deciding(),
            "lake": {"codec": self.environment.lake.codec},
            "runs": {"frameRows": runs.frame_rows, "splitBytes": runs.split_bytes},
            "models": {
                name: hashlib.sha256(data).hexdigest() for name, data in sorted(self.models.items())
            },
        }

    @cached_property
    def config_fingerprint(self) -> str:
        """SHA-256 of ``settings``."""
        return digest(self.settings)

    @cached_property
    def code(self) -> Code:
        """The code that decides the bytes of the output: the pipeline, all it imports, filters."""
        rules = [f.parameters for each in variants(self.program) for f in each.filter_chain.active]
        functions = {r.function.partition(":")[0] for r in rules if isinstance(r, FunctionRule)}
        found = code_of([_PIPELINE], also=sorted(functions))
        return replace(found, data={name: record_type(name).fingerprint for name in RECORD_TYPES})

    @property
    def steps(self) -> tuple[str, ...]:
        """Every step that can turn rows away, in the order in which rows meet them."""
        return chain_of(self.program)

    @property
    def tiers(self) -> tuple[str, ...]:
        """The bands from the lowest to the highest."""
        return tiers_of(self.program)

    @cached_property
    def context(self) -> RunContext:
        """What the run knows of itself."""
        return RunContext(JOB, self.program.program_id, self.config_fingerprint, version("muster"))

    def run_id(self, first: str, last: str) -> str:
        """Return the run's name: the same whenever the same is asked of the same settings."""
        asked = f"{self.context} {first} {last}"
        return f"{JOB}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}"

    def folder(self, first: str, last: str) -> Path:
        """Return where log and report of a run over these days go."""
        return self.out / "runs" / self.run_id(first, last)

    @property
    def warehouse(self) -> Warehouse:
        """The warehouse that the environment names."""
        return Warehouse(self.environment.warehouse.url, self.environment.warehouse.tables)

    @property
    def lake(self) -> LakeSettings:
        """The lake that the environment names."""
        lake = self.environment.lake
        return LakeSettings(lake.root, lake.codec, lake.sync_key)

    def source(self, purpose: Purpose = Purpose.OUTPUT) -> Source:
        """Return the connector for this environment, with the columns that ``purpose`` needs."""
        runs, connector = self.environment.runs, self.connector
        if isinstance(connector, WarehouseConnector):
            return WarehouseSource(self.warehouse, connector, runs.read_days, runs.frame_rows)
        root = self.environment.source_root
        if root is None:
            raise WrongUse(
                f"environment '{self.environment.name}': expected sourceRoot, the place of the "
                f"files of source '{connector.source_id}', found none"
            )
        columns = columns_needed(self.program, connector, purpose)
        return AvroSource(root, connector, columns, runs.frame_rows, runs.split_bytes, runs.threads)

    def chain(self, units: tuple[str, ...]) -> Chain:
        """Return the chain for a wave of units."""
        span = (units[0], units[-1])
        return Chain(
            self.program, self.connector, self.warehouse, self.models, span, Purpose.OUTPUT
        )

    def check(self, day: str) -> None:
        """Try everything that can be wrong before a row is read: tables, columns, models.

        Raises:
            PipelineError: the source or a table cannot be read.
            TransformError: a model does not load, or a setting names a column that is not there.
        """
        columns = self.source().preview(self.source().plan((day,), ()))
        for purpose in (Purpose.DECIDE, Purpose.OUTPUT):
            kernels = replace(self.chain((day,)), purpose=purpose)()
            if columns is not None:
                judged = columns.with_columns(pl.lit(0, pl.UInt8).alias(VERDICT))
                run_chain(kernels, judged, self.context.unit(day))

    def inputs(self, days: Sequence[str]) -> dict[str, UnitInputs]:
        """Return what each day reads: its rows, those it is compared with, features and lookups."""
        before = {day: days_before(day, lookback_days(self.program)) for day in days}
        rows = self.source().witness(
            sorted({*days, *(d for some in before.values() for d in some)})
        )
        features, lookups = self._context_of(days)
        return {
            day: UnitInputs(
                {
                    "reads": rows[day],
                    "lookback": tuple(item for d in before[day] for item in rows[d]),
                    "features": features.get(day, ()),
                    "lookups": lookups,
                }
            )
            for day in days
        }

    def _context_of(
        self, days: Sequence[str]
    ) -> tuple[dict[str, tuple[Input, ...]], tuple[Input, ...]]:
        """Return the features of each day and the lookups of all, as the warehouse has them now."""
        wanted = sorted({rule for each in variants(self.program) for rule in lookup_rules(each)})
        asks = self.program.features
        if not wanted and asks is None:
            return {}, ()
        bounds = (midnight(min(days)), midnight(max(days)) + timedelta(days=1))
        with closing(self.warehouse.connect()) as connection:
            found = connection.witness(asks.query, bounds, "features", day="date") if asks else {}
            lookups = tuple(
                connection.witness(lookup_query(*rule), (), ".".join(rule))[""] for rule in wanted
            )
        features = {day: (item,) for day, item in found.items()}
        nothing = {day: (Input(f"features/{day}", rows=0),) for day in days if asks}
        return {**nothing, **features}, lookups

    def outputs(self, day: str) -> tuple[str, ...]:
        """Name where a unit's output goes."""
        folder, store = f"{self.program.program_id}/{day}", self.environment.store
        lake = (f"{self.lake.root}/{fragments(name, folder)}/" for name in RECORD_TYPES)
        return (*lake, *([store.url] if store else []))

    def moved(self, wave: Wave) -> dict[str, str]:
        """Say which days have other files than were promised; rows of a table show when read."""
        if isinstance(self.connector, WarehouseConnector):
            return {}
        needs = {d: (d, *days_before(d, lookback_days(self.program))) for d in wave.days}
        files = self.source().witness(sorted({day for some in needs.values() for day in some}))
        moved = {}
        for day, some in needs.items():
            found = {item.name: item for each in some for item in files[each]}
            promised = wave.promises[day].inputs
            known = {
                n: input_of(n, s) for n, s in promised.items() if n in found or s[2] is not None
            }
            told = differences(known, found)
            if told:
                moved[day] = f"unit {day}: inputs moved since they were planned: {told[0]}"
        return moved

    def publication(self, wave: Wave, about: Mapping[str, Any]) -> Publication:
        """Return where a wave's units become visible."""
        program, store = self.program, self.environment.store
        return Publication(
            self.lake,
            store.url if store else None,
            program.bands.score if program.bands else program.scoring_models[0].model_id,
            self.connector.quarantine_threshold,
            self.context,
            wave.leases,
            wave.promises,
            about,
            program.on_completion,
            read_fragment,
        )

    def solicitation(self, units: tuple[str, ...], publication: Publication) -> Solicitation:
        """Plan one pipeline run: what it reads, decides and publishes."""
        runs = self.environment.runs
        days = lookback_days(self.program)
        evidence = sorted({d for unit in units for d in days_before(unit, days)} - {*units})
        return Solicitation(
            self.source(),
            self.source(Purpose.DECIDE),
            self.source().plan(units, evidence),
            units,
            self.chain(units),
            publication,
            runs.shards,
            runs.threads,
        )

    def plan(self, request: Request, prices: PriceTable) -> ProgramPlan:
        """Say which days are made, of what, and why."""
        return plan_days(self, request, prices)

    def completing(self, wave: Wave, about: Mapping[str, Any]) -> Publisher:
        """Return what completes days that were published before."""
        return Publisher(self.publication(wave, about))

    def run(self, wave: Wave, about: Mapping[str, Any]) -> None:
        """Make the units of one wave; what became of them is in the ledger."""
        publication = self.publication(wave, about)
        options = PipelineOptions(list(self.environment.runs.beam_options), save_main_session=False)
        with beam.Pipeline(options=options) as pipeline:
            build(pipeline, self.solicitation(wave.days, publication))


def variants(program: Program) -> tuple[Program, ...]:
    """Return the program and what it is for each marketplace that overrides it."""
    return (program, *map(program.for_marketplace, program.marketplace_overrides))


#: What rows of several marketplaces are compared by, or counted by: it must be one for all.
_SHARED = ("dedupe", "capacity", "bands", "experiments", "features", "dataConnectors")


def _of_connector(program: Program) -> Program:
    """Return the program as it is for the connector's marketplace, or for rows of several.

    Raises:
        WrongUse: rows of several marketplaces come together, and one overrides what they share.
    """
    marketplace = program.data_connectors[0].marketplace
    if marketplace is not None:
        return program.for_marketplace(marketplace)
    for code, override in sorted(program.marketplace_overrides.items()):
        shared = sorted(set(override) & set(_SHARED))
        if shared:
            raise WrongUse(
                f"program '{program.program_id}': marketplaceOverrides.{code}: expected nothing "
                f"that rows of several marketplaces share, found {shared}; give the marketplace "
                "a connector, and so a program, of its own"
            )
    return program
