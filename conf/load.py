"""Programs, environments and prices from YAML; a bad file is refused with all its problems."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import chain
from pathlib import Path
from typing import Any

from conf.check import Fault, faults, items
from conf.environment import Environment
from conf.errors import ConfigurationError, Problem
from conf.merge import merged
from conf.prices import PriceTable
from conf.program import Program
from conf.resources import packaged
from conf.shape import Model, shaped
from conf.yaml_text import parse


@dataclass(frozen=True, slots=True)
class _File:
    """A YAML file: its name in messages, its place, and the folder its paths start from."""

    name: str
    place: Traversable
    base: Traversable


def program_names() -> tuple[str, ...]:
    """Return the names of the programs that come with the package, sorted."""
    return _names("programs")


def environment_names() -> tuple[str, ...]:
    """Return the names of the environments that come with the package, sorted."""
    return _names("environments")


def price_names() -> tuple[str, ...]:
    """Return the names of the price tables that come with the package, sorted."""
    return _names("prices")


def load_program(name_or_path: str | Path) -> Program:
    """Return the program of this name, or of the YAML file at this path (properties 30 and 31).

    Raises ConfigurationError with every problem: syntax, repeated and unknown keys, types, names
    that do not exist, overrides that do not make a valid program, missing model files.
    """
    file = _file("programs", name_or_path)
    data, problems = _data(file)
    program, found = _program(data, file)
    return _accepted(program, problems + found + _override_problems(data, file, found))


def load_environment(name_or_path: str | Path) -> Environment:
    """Return the environment of this name, or of the YAML file at this path.

    Raises ConfigurationError with every problem.
    """
    return _loaded("environments", name_or_path, Environment)


def load_prices(name_or_path: str | Path) -> PriceTable:
    """Return the price table of this name, or of the YAML file at this path.

    Raises ConfigurationError with every problem.
    """
    return _loaded("prices", name_or_path, PriceTable)


def model_bytes(program: str | Path, path: str) -> bytes:
    """Return the model file at ``path`` of the program that was loaded as ``program``.

    ``path`` starts at the YAML's folder (for a packaged program at this package), or is
    ``package:<package>/<file>``. Raises ConfigurationError when it cannot be read.
    """
    file = _file("programs", program)
    try:
        return _resolved(path, file.base).read_bytes()
    except (OSError, ImportError) as error:
        raise ConfigurationError([Problem(file.name, path, "a model file", str(error))]) from error


def _names(folder: str) -> tuple[str, ...]:
    names = (entry.name for entry in files("conf").joinpath(folder).iterdir())
    return tuple(sorted(name[: -len(".yaml")] for name in names if name.endswith(".yaml")))


def _loaded(folder: str, name_or_path: str | Path, model: type[Model]) -> Model:
    file = _file(folder, name_or_path)
    data, problems = _data(file)
    settings, found = shaped(data, model, file.name)
    return _accepted(settings, problems + found)


def _file(folder: str, name_or_path: str | Path) -> _File:
    text = str(name_or_path)
    if text.endswith((".yaml", ".yml")):
        return _File(text, Path(text), Path(text).parent)
    if text not in _names(folder):
        expected = f"the name of a packaged file ({', '.join(_names(folder))}) or a path to a .yaml"
        raise ConfigurationError([Problem(folder, "", expected, repr(text))])
    home = files("conf")
    name = f"{folder}/{text}.yaml"
    return _File(f"conf/{name}", home.joinpath(name), home)


def _data(file: _File) -> tuple[Any, list[Problem]]:
    try:
        text = file.place.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = Problem(file.name, "", "a readable UTF-8 file", str(error))
        raise ConfigurationError([problem]) from error
    data, problems = parse(text, file.name)
    if data is None:
        raise ConfigurationError(problems or [Problem(file.name, "", "a map", "nothing")])
    return data, problems


def _program(data: Any, file: _File) -> tuple[Program | None, list[Problem]]:
    program, problems = shaped(data, Program, file.name)
    named = chain(faults(data), _missing_models(data, file.base))
    return program, problems + [Problem(file.name, *fault) for fault in named]


def _override_problems(data: Any, file: _File, known: list[Problem]) -> list[Problem]:
    """Return what is wrong with each marketplace's program and not with the program itself."""
    overrides = data.get("marketplaceOverrides") if isinstance(data, dict) else None
    if not isinstance(overrides, dict):
        return []
    default = {key: value for key, value in data.items() if key != "marketplaceOverrides"}
    return [
        replace(problem, path=f"marketplaceOverrides.{code}: {problem.path}")
        for code, override in overrides.items()
        if isinstance(override, dict)
        for problem in _program(merged(default, override), file)[1]
        if problem not in known
    ]


def _missing_models(data: Any, base: Traversable) -> Iterator[Fault]:
    for index, model in enumerate(items(data.get("scoringModels") if type(data) is dict else None)):
        path = model.get("path")
        if isinstance(path, str) and not _exists(path, base):
            yield f"scoringModels[{index}].path", "a file that exists", repr(path)


def _exists(path: str, base: Traversable) -> bool:
    try:
        return _resolved(path, base).is_file()
    except ImportError:
        return False


def _resolved(path: str, base: Traversable) -> Traversable:
    return packaged(path) or base.joinpath(path)


def _accepted(settings: Model | None, problems: list[Problem]) -> Model:
    if settings is None or problems:
        raise ConfigurationError(problems)
    return settings
