"""Forecasting: the naive forecast by hand, what a linear map must find, no look into the future, and files."""

from pathlib import Path

import pytest
import torch

from gradus.app.cli import main
from gradus.data.series import SeriesSplits
from gradus.engine.product import load_product
from gradus.errors import GradusError
from gradus.sequence.forecasting.building import SquaredError, windows
from gradus.sequence.forecasting.measures import naive_error, of_forecasts
from gradus.sequence.forecasting.models import linear, recurrent, seasonal_naive
from gradus.sequence.forecasting.recipes import Forecast


def trained(path: Path, data: str, *words: str) -> Path:
    run = path / "runs" / "run"
    code = main(["train", "sequence/forecast", "--data", data, "--name", "run", "--runs-dir", str(path / "runs"),
                 "--quiet", "--device", "cpu", *words])  # fmt: skip
    assert code == 0
    return run


def test_the_season_is_repeated() -> None:
    past = torch.tensor([[9.0, 1, 2, 3]])
    assert seasonal_naive(past, 5, 3).tolist() == [[1, 2, 3, 1, 2]]
    assert seasonal_naive(past, 2, 1).tolist() == [[3, 3]]
    assert seasonal_naive(past, 2, 5).tolist() == [[3, 3]]


def test_measures_are_as_counted_by_hand() -> None:
    found, true = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[2.0, 2.0], [3.0, 1.0]])
    metrics = of_forecasts(found, true, torch.zeros(2, 2), 0.5, "test")
    assert metrics == pytest.approx({"test/mae": 1.0, "test/rmse": 2.5**0.5, "test/mase": 2.0, "test/rel_mae": 0.5})
    assert naive_error(torch.tensor([1.0, 5.0, 2.0, 7.0]), 2) == 1.5
    assert naive_error(torch.tensor([1.0, 5.0]), 2) == 4.0


def _splits() -> SeriesSplits:
    return SeriesSplits(torch.arange(20.0)[:, None].double(), ("y",), (10, 15, 20), 2, "count", "f")


def test_forecasts_of_a_part_lie_in_it_and_look_back_only() -> None:
    past, future = windows(_splits(), "test", 4, 2)
    assert future.tolist() == [[15.0, 16.0], [16.0, 17.0], [17.0, 18.0], [18.0, 19.0]]
    assert past[:, :, 0].tolist() == [[11 + i, 12 + i, 13 + i, 14 + i] for i in range(4)]
    past, future = windows(_splits(), "train", 4, 2)
    assert float(future.max()) == 9
    assert len(past) == 5
    assert len(windows(_splits(), "val", 4, 6)[0]) == 0
    assert len(windows(_splits(), "val", 12, 2)[0]) == 2  # the first histories do not begin before the series


def test_the_objective_sees_the_training_part_only() -> None:
    objective = SquaredError(torch.arange(10.0)[:, None], 3, 2)

    class Last(torch.nn.Module):
        def forward(self, history: torch.Tensor) -> torch.Tensor:
            return history[:, -1:, 0].expand(-1, 2)

    loss, logged = objective(Last(), {"start": torch.tensor([0, 5])})
    assert float(loss) == 2.5
    assert float(logged["mae"]) == 1.5


@pytest.mark.parametrize("strategy", ["direct", "recursive"])
def test_training_begins_with_the_naive_forecast(strategy: str) -> None:
    network = recurrent("gru", columns=1, history=8, horizon=5, season=3, hidden=4, strategy=strategy)
    history = torch.randn(2, 8, 1, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(network(history), seasonal_naive(history[..., 0], 5, 3))


def test_a_recursive_forecast_feeds_its_own_values() -> None:
    network = recurrent("rnn", columns=1, history=6, horizon=3, season=1, hidden=4, strategy="recursive")
    with torch.no_grad():
        network.head.weight.normal_(generator=torch.Generator().manual_seed(1))
        history = torch.randn(2, 6, 1, generator=torch.Generator().manual_seed(2))
        found = network(history)
        # By hand: append each value, and read the whole again, with the level of the first.
        level, read = history[:, -1:], history
        for step in range(3):
            state = network.trunk(read - level)[0][:, -1]
            value = level[:, 0] + network.head(state)
            assert torch.allclose(found[:, step], value[:, 0], atol=1e-5)
            read = torch.cat([read, value[:, None]], 1)


def test_a_linear_recurrence_is_found_and_the_naive_forecast_beaten(tmp_path: Path) -> None:
    values = [1.0, 0.5]
    noise = (0.05 * torch.randn(600, generator=torch.Generator().manual_seed(3))).tolist()
    for draw in noise:
        values.append(1.6 * values[-1] - 0.95 * values[-2] + draw)
    path = tmp_path / "wave.csv"
    path.write_text("y\n" + "".join(f"{v:.6f}\n" for v in values))
    words = ("--history", "12", "--horizon", "3")
    product = load_product(trained(tmp_path, str(path), *words), "cpu")
    metrics = Forecast(data=str(path)).evaluate(product, "test")
    # Nothing but the noise to come is left: y_{t+h} − ŷ_{t+h} = Σ_{j<h} ψ_j ε_{t+h−j}, ψ = 1, 1.6, 1.6² − 0.95.
    spread = 0.05 * torch.tensor([1.0, 1.6, 1.61]).square().cumsum(0).sqrt()
    assert metrics["test/mae"] < 1.2 * float(spread.mean()) * (2 / torch.pi) ** 0.5
    assert metrics["test/rel_mae"] < 0.8


def test_every_model_trains_and_forecasts_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "two.csv"
    path.write_text("x,y\n" + "".join(f"{i % 5},{(i % 7) * 10}\n" for i in range(200)))
    words = ("--history", "14", "--horizon", "9", "--max-steps", "4", "--batch-size", "8")
    for i, own in enumerate((("naive",), ("linear",), ("gru", "--set", "hidden=4"), ("lstm", "--covariates", "x"))):
        place = tmp_path / str(i)
        place.mkdir()
        run = trained(place, str(path), *words, "--target", "y", "--model", *own)
        capsys.readouterr()
        assert main(["predict", str(run), str(path)]) == 0
        rows = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert [row[0] for row in rows] == [f"+{step}" for step in range(1, 10)]
        if own == ("naive",):
            assert [float(row[2]) for row in rows] == [(i % 7) * 10 for i in range(200, 209)]
        product = load_product(run, "cpu")
        with pytest.raises(GradusError, match="looks back 14 steps"):
            product.forecast(torch.zeros(1, 13, len(product.facts["columns"])))
    short = tmp_path / "short.csv"
    short.write_text("x,y\n1,2\n3,4\n")
    with pytest.raises(GradusError, match="has 2 rows"):
        next(iter(product.read(short)))


def test_flags_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GradusError, match="learn from the future"):
        Forecast(folds=5)
    with pytest.raises(GradusError, match="there is no model 'lstn'"):
        Forecast(model="lstn")
    with pytest.raises(GradusError, match="--horizon must be positive"):
        Forecast(horizon=0)
    with pytest.raises(GradusError, match="knows the target only"):
        recurrent(columns=2, history=3, horizon=2, season=1, strategy="recursive")
    path = tmp_path / "a.csv"
    path.write_text("y\n" + "".join(f"{i}\n" for i in range(40)))
    assert main(["train", "sequence/forecast", "--data", str(path), "--runs-dir", str(tmp_path / "runs")]) == 2


def test_the_linear_map_is_that_of_least_squares() -> None:
    generator = torch.Generator().manual_seed(5)
    past, future = torch.randn(40, 5, 2, generator=generator), torch.randn(40, 3, generator=generator)
    network = linear(columns=2, history=5, horizon=3, season=2, alpha=0.01)
    network.fit([(past[:25], future[:25]), (past[25:], future[25:])])
    # The gradient of Σ ‖y − ŷ‖² + α n ‖W‖² is zero there.
    network.double()
    loss = (network(past.double()) - future.double()).square().sum() + 0.01 * 40 * network.head.weight.square().sum()
    loss.backward()
    assert float(network.head.weight.grad.abs().max()) < 1e-3
    assert float(network.head.bias.grad.abs().max()) < 1e-3
    with pytest.raises(GradusError, match="alpha=0"):
        linear(columns=2, history=5, horizon=3, season=2, alpha=0.0)


def test_a_linear_map_has_no_level() -> None:
    network = linear(columns=1, history=4, horizon=2, season=1)
    with torch.no_grad():
        network.head.weight.fill_(0.3)
    history = torch.tensor([[[1.0], [2.0], [4.0], [3.0]]])
    assert torch.allclose(network(history + 10), network(history) + 10)
