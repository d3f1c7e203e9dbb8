"""A record of the ledger, and which record may follow which.

```
planned -> leased (-> progressed) -> published -> succeeded
   |          |            |            |
   +----------+------------+------------+--> failed, cancelled
```

A record's number is one more than its predecessor's, and a number is written once. So whoever adds
a record has seen the one before it, and of two that try only one succeeds: the ledger of a unit is
its lock, and a worker that was thought dead cannot publish over its successor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pipelines.errors import NotMyUnit

Event = Literal["planned", "leased", "progressed", "published", "succeeded", "failed", "cancelled"]

#: Events after which a unit belongs to nobody.
FREE: frozenset[Event] = frozenset({"succeeded", "failed", "cancelled"})

#: What the run that holds a unit may write after each event.
_NEXT: Mapping[Event, frozenset[Event]] = {
    "planned": frozenset({"leased", "failed", "cancelled"}),
    "leased": frozenset({"progressed", "published", "succeeded", "failed", "cancelled"}),
    "progressed": frozenset({"published", "failed", "cancelled"}),
    "published": frozenset({"succeeded", "failed", "cancelled"}),
    "succeeded": frozenset({"planned"}),
    "failed": frozenset({"planned", "leased"}),
    "cancelled": frozenset({"planned"}),
}


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a unit.

    ``attempt`` counts the leases of the unit, and is the fencing token of all that an attempt
    does. ``fingerprint`` is that of what the attempt was to make, ``plan`` the hash of the plan
    that asked for it. ``publication`` is the number of the latest ``published`` record: what is
    visible. ``completed`` says that the store holds it and that nothing of an earlier publication
    is left. ``details`` depend on the event.
    """

    unit: str
    seq: int
    event: Event
    attempt: int
    run: str
    at: str
    fingerprint: str
    plan: str
    publication: int | None = None
    completed: bool = True
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def held(self) -> bool:
        """Whether the run that wrote it still holds the unit, if it lives."""
        return self.event not in FREE

    @property
    def fresh(self) -> bool:
        """Whether the unit has an output, whole: published and completed."""
        return self.publication is not None and self.completed

    def to_json(self) -> bytes:
        """Return the record as its object's bytes."""
        return (json.dumps(asdict(self), sort_keys=True, separators=(",", ":")) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> Record:
        """Return the record that an object holds."""
        return cls(**json.loads(data))


def follow(
    last: Record | None,
    event: Event,
    *,
    unit: str,
    run: str,
    at: str,
    fingerprint: str,
    plan: str,
    details: Mapping[str, Any] | None = None,
) -> Record:
    """Return the record that comes after ``last``.

    ``planned`` claims a unit, also from another run: that its holder is dead is the caller's
    finding. Everything else is for the run that holds the unit.

    Raises:
        NotMyUnit: the step is not for this run, or not in this order.
    """
    if last is None:
        if event != "planned":
            raise NotMyUnit(unit, event, "no record")
        return Record(unit, 1, event, 0, run, at, fingerprint, plan, details=details or {})
    taken_over = event == "planned" and last.run != run
    if not taken_over and (last.run != run or event not in _NEXT[last.event]):
        raise NotMyUnit(unit, event, f"'{last.event}' of run {last.run}")
    seq = last.seq + 1
    published = event == "published"
    return Record(
        unit,
        seq,
        event,
        last.attempt + (event == "leased"),
        run,
        at,
        fingerprint,
        plan,
        seq if published else last.publication,
        False if published else last.completed or event == "succeeded",
        details or {},
    )
