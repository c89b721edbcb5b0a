"""Measuring an experiment's table outside a run folder."""

from typing import Any

from gradus.engine.run import Run
from gradus.experiments.experiment import Experiment, Row

__all__ = ["rows_of"]


def rows_of(experiment: Experiment) -> list[Row]:
    """Return the whole table of an experiment."""
    table: Any = experiment.build(Run.ephemeral(experiment.seed)).learner
    for numbered in enumerate(experiment.cells()):
        table.step(numbered)
    return table.rows
