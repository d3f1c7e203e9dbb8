"""How a marketplace's override changes a program.

Maps merge key by key; lists whose items carry an id merge item by item by that id, new items at the
end; every other list and value is replaced.
"""

from __future__ import annotations

from typing import Any

#: The keys that identify an item of a list.
IDS = ("filterId", "modelId", "channelId", "experimentId", "sourceId")


def merged(base: Any, override: Any) -> Any:
    """Return ``base`` with ``override`` laid over it; neither is changed.

    >>> merged({"a": 1, "b": {"c": 2}}, {"b": {"d": 3}})
    {'a': 1, 'b': {'c': 2, 'd': 3}}
    >>> base = [{"modelId": "x", "fallbackScore": 0.1}, {"modelId": "y", "fallbackScore": 0.2}]
    >>> merged(base, [{"modelId": "y", "fallbackScore": 0.9}])[1]
    {'modelId': 'y', 'fallbackScore': 0.9}
    """
    if isinstance(base, dict) and isinstance(override, dict):
        changed = {k: merged(base[k], v) if k in base else v for k, v in override.items()}
        return {**base, **changed}
    if isinstance(base, list) and isinstance(override, list):
        key = next((key for key in IDS if _identified(base + override, key)), None)
        return _by_id(base, override, key) if key else override
    return override


def _identified(items: list[Any], key: str) -> bool:
    return bool(items) and all(isinstance(i, dict) and isinstance(i.get(key), str) for i in items)


def _by_id(base: list[Any], override: list[Any], key: str) -> list[Any]:
    changed = {item[key]: item for item in base}
    for item in override:
        changed[item[key]] = merged(changed.get(item[key], {}), item)
    return list(changed.values())
