"""A network beats logistic regression on tables: the evidence in small, and on the adult data where it is here."""

import pytest

from gradus.data.table_sets import adult
from gradus.errors import GradusError
from tabular.adult import evidence


def test_the_measurement_runs():
    found = evidence(seeds=[0], max_epochs=1, data="breast-cancer")
    assert found["lead in accuracy"] == pytest.approx(found["mlp accuracy"] - found["logistic accuracy"])
    assert found["logistic accuracy"] > 0.95


def test_a_network_beats_logistic_regression():
    try:
        adult()
    except GradusError as missing:
        pytest.skip(str(missing))
    found = evidence(seeds=[0], max_epochs=2)
    assert found["lead in accuracy"] > 0
    assert found["lead in loss"] > 0
