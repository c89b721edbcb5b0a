"""The table of layers over sequences: counts that are known, and how they grow."""

import math

import pytest

from experiments.tables import rows_of
from gradus.errors import GradusError
from gradus.experiments.sequence_layers import SequenceLayers

LENGTHS = (8, 16, 32)


@pytest.fixture(scope="module")
def rows():
    found = rows_of(SequenceLayers(lengths=LENGTHS, width=4, window=3, kernel=3))
    return {(row["layer"], row["length"]): row for row in found}


@pytest.mark.parametrize("n", LENGTHS)
def test_multiply_adds_are_those_on_paper(rows, n):
    projections = 4 * n * 4 * 4
    assert rows["attention", n]["multiply_adds"] == projections + 2 * n * n * 4
    assert rows["convolution", n]["multiply_adds"] == n * 3 * 4 * 4
    assert rows["recurrent", n]["multiply_adds"] == 2 * n * 4 * 4


@pytest.mark.parametrize("n", LENGTHS)
def test_the_ends_are_connected_after_as_many_layers_as_the_reach_says(rows, n):
    assert [rows[kind, n]["layers"] for kind in ("attention", "linear", "recurrent")] == [1, 1, 1]
    assert rows["convolution", n]["layers"] == math.ceil((n - 1) / (3 - 1))
    assert rows["local", n]["layers"] == math.ceil((n - 1) / 3)


def test_only_recurrence_waits_and_only_attention_is_near(rows):
    found = SequenceLayers().findings(list(rows.values()))
    assert found["recurrent_sequential_exponent"] > 0.7
    assert all(found[f"{kind}_sequential_exponent"] == 0 for kind in ("attention", "local", "linear", "convolution"))
    assert all(found[f"{kind}_path_exponent"] == 0 for kind in ("attention", "linear"))
    assert all(found[f"{kind}_path_exponent"] > 0.7 for kind in ("local", "convolution", "recurrent"))


@pytest.mark.parametrize("flags", [{"kinds": ("atention",)}, {"lengths": (8,)}, {"window": 1}, {"width": 0}])
def test_what_cannot_be_meant_is_refused(flags):
    with pytest.raises(GradusError, match=f"--{next(iter(flags))}"):
        SequenceLayers(**flags)
