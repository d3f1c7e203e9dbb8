"""The job ``solicit``: decides, for each day, whom a program may ask.

It reads settings, checks them against the source before anything runs, runs the days in waves of
one pipeline each, and gathers what became of every unit.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import apache_beam as beam
import polars as pl
from apache_beam.options.pipeline_options import PipelineOptions

from conf.environment import Environment
from conf.load import fingerprint, load_environment, load_program, model_bytes
from conf.program import AvroConnector, OnnxModel, Program, WarehouseConnector
from jobs.days import DateRange
from jobs.errors import WrongUse
from jobs.outcomes import chain_of, forget, gather, tiers_of
from jobs.results import RunResult, UnitResult
from pipelines.chain import Chain, Purpose, columns_needed
from pipelines.context import RunContext
from pipelines.lake import Lake, LakeSettings
from pipelines.publish import Publication
from pipelines.solicit import Solicitation, build, lookback_days
from pipelines.sources.avro import AvroSource
from pipelines.sources.entry import Source
from pipelines.sources.warehouse import Warehouse, WarehouseSource
from pipelines.step import run_chain
from transforms.verdict import VERDICT

JOB = "solicit"


@dataclass(frozen=True, slots=True)
class SolicitJob:
    """A program, an environment and a range of days: everything that decides what a run does."""

    program: Program
    environment: Environment
    days: DateRange
    out: Path
    models: dict[str, bytes] = field(repr=False)

    @classmethod
    def load(cls, program: str, environment: str, days: DateRange, out: Path) -> SolicitJob:
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
        overrides = map(settings.for_marketplace, settings.marketplace_overrides)
        models = {
            model.path: model_bytes(program, model.path)
            for each in (settings, *overrides)
            for model in each.scoring_models
            if isinstance(model, OnnxModel)
        }
        return cls(settings, load_environment(environment).with_out(out), days, out, models)

    @property
    def connector(self) -> WarehouseConnector | AvroConnector:
        """Where the program's rows come from."""
        return self.program.data_connectors[0]

    @property
    def config_fingerprint(self) -> str:
        """SHA-256 of all settings that decide the bytes of the output."""
        runs = self.environment.runs
        parts = [
            fingerprint(self.program),
            f"{self.environment.lake.codec} {runs.frame_rows} {runs.split_bytes}",
            *(hashlib.sha256(self.models[name]).hexdigest() for name in sorted(self.models)),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def context(self) -> RunContext:
        """What the run knows of itself."""
        return RunContext(JOB, self.program.program_id, self.config_fingerprint, version("muster"))

    @property
    def run_id(self) -> str:
        """The run's name: the same whenever the same is asked of the same settings."""
        asked = f"{self.context} {self.days.first} {self.days.last}"
        return f"{JOB}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}"

    @property
    def folder(self) -> Path:
        """Where log, report and outcomes of the run go."""
        return self.out / "runs" / self.run_id

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

    def check(self) -> None:
        """Try everything that can be wrong before a row is read: tables, columns, models.

        Raises:
            PipelineError: the source or a table cannot be read.
            TransformError: a model does not load, or a setting names a column that is not there.
        """
        units = self.days.units[:1]
        columns = self.source().preview(self.source().plan(units, ()))
        for purpose in (Purpose.DECIDE, Purpose.OUTPUT):
            kernels = replace(self.chain(units), purpose=purpose)()
            if columns is not None:
                judged = columns.with_columns(pl.lit(0, pl.UInt8).alias(VERDICT))
                run_chain(kernels, judged, self.context.unit(units[0]))

    def waves(self) -> Iterator[tuple[str, ...]]:
        """Yield the units of each pipeline run, in order."""
        units, size = self.days.units, self.environment.runs.units_per_run
        for start in range(0, len(units), size):
            yield units[start : start + size]

    def solicitation(self, units: tuple[str, ...]) -> Solicitation:
        """Plan one wave: what it reads, decides and publishes."""
        runs, program = self.environment.runs, self.program
        first = DateRange(*(map(type(self.days.first).fromisoformat, (units[0], units[-1]))))
        evidence = first.before(lookback_days(program))
        return Solicitation(
            self.source(),
            self.source(Purpose.DECIDE),
            self.source().plan(units, evidence),
            units,
            self.chain(units),
            Publication(
                self.lake,
                self.environment.store.url if self.environment.store else None,
                program.bands.score if program.bands else program.scoring_models[0].model_id,
                str(self.folder / "units"),
                self.connector.quarantine_threshold,
                self.context,
            ),
            runs.shards,
            runs.threads,
        )


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


def run(job: SolicitJob) -> RunResult:
    """Run every unit of the job and gather the results; failed units do not stop the others.

    A disabled program runs nothing: its units are skipped (property 32).
    """
    started = time.perf_counter()
    if not job.program.enabled:
        reason = f"program '{job.program.program_id}' is disabled"
        skipped = (UnitResult(unit, "skipped", error=reason) for unit in job.days.units)
        return _result(job, tuple(skipped), started)
    job.check()
    forget(job.folder / "units", job.days.units)
    Lake(job.lake).storage.sweep_staged()
    for units in job.waves():
        with beam.Pipeline(options=_options(job.environment)) as pipeline:
            build(pipeline, job.solicitation(units))
    found = gather(job.folder / "units", job.days.units, tiers_of(job.program))
    return _result(job, found, started)


def _options(environment: Environment) -> PipelineOptions:
    return PipelineOptions(list(environment.runs.beam_options), save_main_session=False)


def _result(job: SolicitJob, units: tuple[UnitResult, ...], started: float) -> RunResult:
    return RunResult(
        job.run_id,
        JOB,
        job.program.program_id,
        job.environment.name,
        job.config_fingerprint,
        job.context.code_version,
        units,
        time.perf_counter() - started,
        chain_of(job.program),
    )
