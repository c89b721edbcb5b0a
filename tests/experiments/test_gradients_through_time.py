"""Open gates carry gradients through a hundred steps; a tanh network loses them, exponentially."""

import numpy as np
import pytest

from experiments.tables import rows_of
from gradus.errors import GradusError
from gradus.experiments.gradients_through_time import GradientsThroughTime


def test_open_gates_keep_what_a_tanh_network_loses() -> None:
    experiment = GradientsThroughTime(repeats=2)
    rows = rows_of(experiment)
    found = experiment.findings(rows)
    assert 0.99 < found["gru_open_kept"] < 1.01
    assert 0.99 < found["lstm_open_kept"] < 1.01
    assert found["rnn_kept"] < 1e-8
    assert found["gru_fresh_kept"] < 1e-8
    assert found["lstm_fresh_kept"] > 1e3 * found["rnn_kept"], "a forget bias of one should help already"


def test_the_loss_is_exponential() -> None:
    for row in rows_of(GradientsThroughTime(kinds=("rnn",), repeats=2)):
        logs = np.log(row["norms"][:-1])
        rate, start = np.polyfit(np.arange(len(logs)), logs, 1)
        assert rate > 0.1
        # A straight line in the logarithm: what is left of it is noise.
        assert np.std(logs - rate * np.arange(len(logs)) - start) < 0.1 * np.ptp(logs)


def test_a_longer_memory_has_more_steps() -> None:
    (row,) = rows_of(GradientsThroughTime(kinds=("rnn_relu",), length=7, repeats=1))
    assert len(row["norms"]) == 8


@pytest.mark.parametrize(
    "flags, named", [({"kinds": ("jordan",)}, "jordan"), ({"length": 1}, "--length"), ({"opening": 0.0}, "--opening")]
)
def test_what_cannot_be_measured_is_refused(flags: dict, named: str) -> None:
    with pytest.raises(GradusError, match=named):
        GradientsThroughTime(**flags)
