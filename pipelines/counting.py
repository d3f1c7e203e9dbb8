"""What is counted in each pass over the source."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from conf.program import Program
from pipelines import tally
from pipelines.step import Outcome, balance_of
from pipelines.tally import FIRST_PASS, STAGE, Tally


@dataclass(frozen=True, slots=True)
class CountWork:
    """Counts the seconds of the first pass; its rows are counted when they come again."""

    def __call__(self, outcome: Outcome) -> Tally:
        """Return the batch's microseconds, whichever kernel they went to."""
        spent = sum(n for key, n in outcome.stages.items() if key[-1] == "microseconds")
        return Counter({(STAGE, FIRST_PASS, "microseconds"): spent})


@dataclass(frozen=True, slots=True)
class CountOutput:
    """Counts the balance, the stages, and the scores, bands and treatments of candidates."""

    program: Program

    def __call__(self, outcome: Outcome) -> Tally:
        """Return the counts of one batch."""
        treatments = [f"treatment.{e.experiment_id}" for e in self.program.experiments if e.enabled]
        labels = [*(["band"] if self.program.bands else []), *treatments]
        models = [model.model_id for model in self.program.scoring_models]
        passed = outcome.split.passed
        return tally.add(
            [
                balance_of(outcome),
                outcome.stages,
                tally.of_labels(passed, labels),
                tally.of_scores(passed, models),
            ]
        )
