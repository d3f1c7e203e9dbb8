from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.errors import ConfigurationError, Problem
from conf.load import load_program
from conf.program import Program


def a_program(sources: int, filters: int, models: int, channels: int) -> dict[str, Any]:
    """Return a program with so many parts of each kind."""
    fields = {"customerId": "c", "subjectId": "s", "eventDate": "d"}
    return {
        "programId": "p",
        "programName": "P",
        "enabled": True,
        "marketplaces": ["US"],
        "dataConnectors": [
            {
                "sourceId": f"s{i}",
                "connectorType": "avro",
                "subjectType": "product",
                "marketplace": "US",
                "path": "events/{date}.avro",
                "fieldMappings": fields,
            }
            for i in range(sources)
        ],
        "filterChain": {
            "filters": [
                {
                    "filterId": f"f{i}",
                    "filterType": "TRUST",
                    "order": i,
                    "reasonCode": "NO_F",
                    "reason": "no f",
                    "parameters": {"column": "c", "table": "t", "key": "k"},
                }
                for i in range(filters)
            ]
        },
        "scoringModels": [
            {
                "modelId": f"m{i}",
                "type": "linear",
                "coefficients": {"orderValue": 0.1},
                "fallbackScore": 0.0,
            }
            for i in range(models)
        ],
        "channels": [{"channelId": f"c{i}", "channelType": "PUSH"} for i in range(channels)],
        "candidateTTLDays": 30,
    }


COUNT = st.sampled_from([0, 1, 1, 2, 3])
PATHS = ("dataConnectors", "filterChain.filters", "scoringModels", "channels")


def loaded(said: dict[str, Any]) -> Program | tuple[Problem, ...]:
    """Return the program that says this, or the problems for which it is refused."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "p.yaml"
        file.write_text(yaml.safe_dump(said))
        try:
            return load_program(file)
        except ConfigurationError as error:
            return error.problems


@settings(max_examples=150, deadline=None)
@given(st.tuples(COUNT, COUNT, COUNT, COUNT))
def test_property_31(counts: tuple[int, int, int, int]) -> None:
    """Feature: solicitation-platform, Property 31: Program configuration completeness"""
    result = loaded(a_program(*counts))
    missing = [path for path, count in zip(PATHS, counts, strict=True) if count == 0]
    if not isinstance(result, Program):
        assert missing
        assert sorted(problem.path for problem in result) == sorted(missing)
        return
    parts = (
        result.data_connectors,
        result.filter_chain.filters,
        result.scoring_models,
        result.channels,
    )
    assert not missing
    assert tuple(map(len, parts)) == counts
