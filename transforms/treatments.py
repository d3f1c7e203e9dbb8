"""Treatments: which arm of an experiment a customer belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import polars as pl
from polars_hash import NonCryptographicHashingNameSpace as StableHash

from conf.program import Experiment
from transforms.errors import ColumnTaken
from transforms.kernel import Split, UnitContext, nothing_rejected

#: Size of the space that hashes fall into.
_SPACE = 2**64


@dataclass(frozen=True)
class AssignTreatment:
    """Assigns every row's customer to a treatment of each enabled experiment; rejects nothing.

    Input: ``customerId`` (String). Output: ``treatment.<experimentId>`` (String, null only for a
    null customer). The treatment is a function of the experiment's salt, its weights and the
    customer alone: where the 64-bit xxHash of ``salt|customerId`` falls among the shares of the
    treatments, in the order of the configuration. Rows keep their order and number.

    Raises ``ColumnTaken`` when an experiment's column is there already.

    Source: solicitation-platform, properties 34 and 35.
    """

    experiments: tuple[Experiment, ...]

    @property
    def name(self) -> str:
        """The stage's name."""
        return "treatment"

    def __call__(self, frame: pl.DataFrame, context: UnitContext) -> Split:  # noqa: ARG002
        """Add a column for each enabled experiment."""
        customers = frame.get_column("customerId")
        treatments = [
            treatment_of(customers, experiment).alias(f"treatment.{experiment.experiment_id}")
            for experiment in self.experiments
            if experiment.enabled
        ]
        taken = [column.name for column in treatments if column.name in frame.columns]
        if taken:
            raise ColumnTaken(self.name, taken)
        return Split(frame.hstack(treatments), nothing_rejected())


def treatment_of(customers: pl.Series, experiment: Experiment) -> pl.Series:
    """Return each customer's treatment (String) in ``experiment``, null for a null customer.

    >>> halves = Experiment.model_validate(
    ...     {
    ...         "experimentId": "tone",
    ...         "salt": "2017",
    ...         "treatments": [
    ...             {"treatmentId": "plain", "weight": 1},
    ...             {"treatmentId": "warm", "weight": 1},
    ...         ],
    ...     }
    ... )
    >>> treatment_of(pl.Series(["1", "2", "3", "4"]), halves).to_list()
    ['warm', 'plain', 'plain', 'warm']
    """
    salted = pl.concat_str(pl.lit(f"{experiment.salt}|"), customers)
    places = pl.select(place=StableHash(salted).xxhash64())
    place = pl.col("place")
    *others, last = experiment.treatments
    assigned: pl.Expr = pl.lit(last.treatment_id)
    for treatment, bound in reversed(list(zip(others, _bounds(experiment), strict=True))):
        assigned = pl.when(place < bound).then(pl.lit(treatment.treatment_id)).otherwise(assigned)
    return places.select(pl.when(place.is_not_null()).then(assigned)).to_series()


def _bounds(experiment: Experiment) -> list[pl.Expr]:
    """Return where each treatment's share of the hash space ends (excluded), but for the last."""
    weights = [treatment.weight for treatment in experiment.treatments]
    sums = list(accumulate(weights))
    return [pl.lit(part * _SPACE // sums[-1], pl.UInt64) for part in sums[:-1]]
