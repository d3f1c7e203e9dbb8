"""What one part of a program says about another: names that must exist, ids that must differ.

The checks read plain data and pass over what has the wrong shape, which ``conf.shape`` reports, so
that one reading of a file finds the faults of both kinds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

Fault = tuple[str, str, str]

#: Columns that every row has and that a model may read beside the features.
CANONICAL_FEATURES = ("orderValue",)


def faults(program: Any) -> Iterator[Fault]:
    """Yield (path, expected, found) for every contradiction within ``program``."""
    if isinstance(program, dict):
        for check in _CHECKS:
            yield from check(program)


def _map(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[dict[Any, Any]]:
    """Return the items of a list as maps; what is no list has none, what is no map is empty."""
    return [_map(item) for item in value] if isinstance(value, list) else []


def _texts(value: Any) -> list[str]:
    return [v for v in value if isinstance(v, str)] if isinstance(value, list | dict) else []


def _repeated(items: list[dict[Any, Any]], path: str, key: str) -> Iterator[Fault]:
    counts = Counter(item[key] for item in items if isinstance(item.get(key), str))
    for value, count in counts.items():
        if count > 1:
            yield path, f"items of distinct {key}", f"{value!r} {count} times"


def _distinct_ids(program: dict[Any, Any]) -> Iterator[Fault]:
    for path, key in (
        ("dataConnectors", "sourceId"),
        ("scoringModels", "modelId"),
        ("channels", "channelId"),
        ("experiments", "experimentId"),
    ):
        yield from _repeated(items(program.get(path)), path, key)
    for index, experiment in enumerate(items(program.get("experiments"))):
        path = f"experiments[{index}].treatments"
        yield from _repeated(items(experiment.get("treatments")), path, "treatmentId")
    tiers = items(_map(program.get("bands")).get("tiers"))
    yield from _repeated(tiers, "bands.tiers", "name")


def _scores_exist(program: dict[Any, Any]) -> Iterator[Fault]:
    models = [item.get("modelId") for item in items(program.get("scoringModels"))]
    for part in ("bands", "capacity"):
        score = _map(program.get(part)).get("score")
        if isinstance(score, str) and score not in models:
            yield f"{part}.score", f"the modelId of a scoring model {models}", repr(score)


def _features_exist(program: dict[Any, Any]) -> Iterator[Fault]:
    if program.get("features") is None:
        return  # models read columns of the source, which a run checks before it reads a row
    columns = _texts(_map(program.get("features")).get("columns"))
    known = (*columns, *CANONICAL_FEATURES)
    for index, model in enumerate(items(program.get("scoringModels"))):
        key = "coefficients" if model.get("type") == "linear" else "features"
        for name in _texts(model.get(key)):
            if name not in known:
                path = f"scoringModels[{index}].{key}"
                yield path, f"names among features.columns or {known}", repr(name)


def _marketplaces_exist(program: dict[Any, Any]) -> Iterator[Fault]:
    known = _texts(program.get("marketplaces"))
    expected = f"one of the program's marketplaces {known}"
    for value, count in Counter(known).items():
        if count > 1:
            yield "marketplaces", "distinct marketplaces", f"{value!r} {count} times"
    for index, connector in enumerate(items(program.get("dataConnectors"))):
        code = connector.get("marketplace")
        if isinstance(code, str) and code not in known:
            yield f"dataConnectors[{index}].marketplace", expected, repr(code)
    for code in _map(program.get("marketplaceOverrides")):
        if code not in known:
            yield f"marketplaceOverrides.{code}", expected, repr(code)


def _overrides_keep_identity(program: dict[Any, Any]) -> Iterator[Fault]:
    for code, override in _map(program.get("marketplaceOverrides")).items():
        for key in ("programId", "marketplaces", "marketplaceOverrides"):
            if key in _map(override):
                yield f"marketplaceOverrides.{code}.{key}", "a key that may differ", f"{key}"


_CHECKS: tuple[Callable[[dict[Any, Any]], Iterator[Fault]], ...] = (
    _distinct_ids,
    _scores_exist,
    _features_exist,
    _marketplaces_exist,
    _overrides_keep_identity,
)
