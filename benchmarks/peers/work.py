"""The work that every peer does: four filters, then a band on the score."""

from __future__ import annotations

import copy
from typing import Any

from benchmarks.generate import registration_schema

QUANTITY = (1, 50)
LEAST_ORDER_VALUE = 1.0
COUNTRIES = ("US", "GB", "DE", "FR", "JP", "CA", "ES")
#: Half-open: low below 0.5, mid from 0.5, high from 0.8.
MID, HIGH = 0.5, 0.8
WINDOW_DAYS = 14
PER_CUSTOMER_AND_DAY = 3


def banded_schema() -> dict[str, Any]:
    """Return the schema of the output: a registration and its band."""
    schema = copy.deepcopy(registration_schema())
    schema["name"] = "bandedRegistration"
    schema["fields"] = [*schema["fields"], {"name": "band", "type": "string"}]
    return schema
