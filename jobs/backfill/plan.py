"""A plan: exactly which units will be made, of what, why, and what it is taken to cost.

A plan is a document that can be read, reviewed and applied later. It holds no clock: the same
inputs, settings, code and ledger give the same plan with the same hash.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, reduce
from pathlib import Path
from typing import Any, Literal

from conf.digest import digest
from jobs.backfill.work import UnitInputs
from jobs.errors import WrongUse
from pipelines.sources.inputs import Input, input_of

Mode = Literal["missing", "failed", "stale", "all"]
Order = Literal["newest", "oldest"]
MODES: tuple[Mode, ...] = ("missing", "failed", "stale", "all")
ORDERS: tuple[Order, ...] = ("newest", "oldest")
VERSION = 2


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for; ``programs`` are names or paths of YAML, ``first`` and ``last`` days.

    ``options`` are what a job has of its own, as JSON.
    """

    job: str
    programs: tuple[str, ...]
    environment: str
    out: str
    first: str
    last: str
    reprocess: Mode = "missing"
    order: Order = "newest"
    prices: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a unit is taken to need: rows, bytes to the lake, requests, write units, work, money."""

    rows: int = 0
    written: int = 0
    bytes: int = 0
    puts: int = 0
    gets: int = 0
    write_units: int = 0
    seconds: float = 0.0
    usd: float = 0.0

    def __add__(self, other: Predicted) -> Predicted:
        return Predicted(
            self.rows + other.rows,
            self.written + other.written,
            self.bytes + other.bytes,
            self.puts + other.puts,
            self.gets + other.gets,
            self.write_units + other.write_units,
            round(self.seconds + other.seconds, 3),
            round(self.usd + other.usd, 6),
        )


@dataclass(frozen=True, slots=True)
class PlannedUnit:
    """One unit to be made; ``attempts`` is how many there had been when it was planned.

    ``inputs`` names what it reads, by role; the program's table says what each of them is.
    """

    day: str
    why: str
    fingerprint: str
    attempts: int
    inputs: Mapping[str, tuple[str, ...]]
    outputs: tuple[str, ...]
    predicted: Predicted


@dataclass(frozen=True, slots=True)
class LeftUnit:
    """One unit of the range that the plan leaves as it is, and why."""

    day: str
    state: Literal["done", "stale", "failed", "missing", "disabled", "waits", "bad"]
    why: str


@dataclass(frozen=True, slots=True)
class ProgramPlan:
    """The part of a plan that is one program's.

    ``resumes`` names the interrupted application of a plan that this one goes on with.
    """

    asked: str
    program: str
    settings_fingerprint: str
    code_fingerprint: str
    settings: Mapping[str, Any]
    code: Mapping[str, str]
    inputs: Mapping[str, Input]
    basis: str
    units: tuple[PlannedUnit, ...]
    left: tuple[LeftUnit, ...]
    resumes: str | None = None

    def inputs_of(self, unit: PlannedUnit) -> UnitInputs:
        """Return what a unit reads."""
        roles = unit.inputs.items()
        return UnitInputs({role: tuple(self.inputs[n] for n in names) for role, names in roles})

    @property
    def predicted(self) -> Predicted:
        """The sum over all units."""
        return reduce(Predicted.__add__, (unit.predicted for unit in self.units), Predicted())


@dataclass(frozen=True)
class Plan:
    """All programs' units; ``refused`` are programs that could not be planned, with the reason."""

    request: Request
    prices: Mapping[str, Any]
    programs: tuple[ProgramPlan, ...]
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def predicted(self) -> Predicted:
        """The sum over all programs."""
        return reduce(Predicted.__add__, (part.predicted for part in self.programs), Predicted())

    @property
    def units(self) -> Iterator[tuple[ProgramPlan, PlannedUnit]]:
        """Every unit with its program's part."""
        return ((part, unit) for part in self.programs for unit in part.units)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over everything that the plan says."""
        return digest(self._body())

    def label(self, part: ProgramPlan) -> str:
        """Return by what name records speak of the plan: that of the one which it resumes."""
        return part.resumes or f"{self.request.reprocess}/{self.hash}"

    def document(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        return {"hash": self.hash, **self._body()}

    def _body(self) -> dict[str, Any]:
        return {
            "planVersion": VERSION,
            "request": asdict(self.request),
            "prices": dict(self.prices),
            "programs": [_part_document(part) for part in self.programs],
            "refused": dict(self.refused),
            "totals": {"units": sum(1 for _ in self.units), **asdict(self.predicted)},
        }

    def write(self, path: Path) -> None:
        """Write the plan to a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.document(), indent=1) + "\n", encoding="utf-8")


def read_plan(path: Path) -> Plan:
    """Return the plan in a file.

    Raises:
        WrongUse: it is no plan, of another version, or was changed after it was made.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        version = said["planVersion"]
        if version != VERSION:
            raise WrongUse(f"{path}: expected planVersion {VERSION}, found {version}; plan again")
        plan = _plan(said)
        body = {key: value for key, value in said.items() if key != "hash"}
        found, given = digest(body), said["hash"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WrongUse(
            f"{path}: expected a plan as 'muster plan -o' writes it, "
            f"found {type(error).__name__}: {error}"
        ) from error
    if given != found or plan.hash != found:
        raise WrongUse(
            f"{path}: expected content of hash {given}, found {found}: "
            "the plan was changed after it was made; plan again"
        )
    return plan


def _part_document(part: ProgramPlan) -> dict[str, Any]:
    return {
        "asked": part.asked,
        "program": part.program,
        "settingsFingerprint": part.settings_fingerprint,
        "codeFingerprint": part.code_fingerprint,
        "settings": dict(part.settings),
        "code": dict(part.code),
        "inputs": {name: found.said() for name, found in sorted(part.inputs.items())},
        "basis": part.basis,
        "units": [
            {
                **{key: getattr(unit, key) for key in ("day", "why", "fingerprint", "attempts")},
                "inputs": {role: list(names) for role, names in unit.inputs.items()},
                "outputs": list(unit.outputs),
                "predicted": asdict(unit.predicted),
            }
            for unit in part.units
        ],
        "left": [asdict(unit) for unit in part.left],
        "resumes": part.resumes,
    }


def _plan(said: Mapping[str, Any]) -> Plan:
    request = said["request"]
    return Plan(
        Request(**{**request, "programs": tuple(request["programs"])}),
        said["prices"],
        tuple(map(_part, said["programs"])),
        said["refused"],
    )


def _part(said: Mapping[str, Any]) -> ProgramPlan:
    return ProgramPlan(
        said["asked"],
        said["program"],
        said["settingsFingerprint"],
        said["codeFingerprint"],
        said["settings"],
        said["code"],
        {name: input_of(name, found) for name, found in said["inputs"].items()},
        said["basis"],
        tuple(map(_unit, said["units"])),
        tuple(LeftUnit(**unit) for unit in said["left"]),
        said["resumes"],
    )


def _unit(said: Mapping[str, Any]) -> PlannedUnit:
    return PlannedUnit(
        said["day"],
        said["why"],
        said["fingerprint"],
        said["attempts"],
        {role: tuple(names) for role, names in said["inputs"].items()},
        tuple(said["outputs"]),
        Predicted(**said["predicted"]),
    )
