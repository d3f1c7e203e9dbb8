from __future__ import annotations

import pickle

from conf.errors import ConfigurationError, Problem


def test_one_line_a_problem() -> None:
    error = ConfigurationError([Problem("a.yaml", "b.c", "d", "e"), Problem("f", "", "g", "h")])
    assert str(error) == "a.yaml: b.c: expected d, found e\nf: expected g, found h"


def test_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(ConfigurationError([Problem("a", "b", "c", "d")])))
    assert error.problems == (Problem("a", "b", "c", "d"),)
