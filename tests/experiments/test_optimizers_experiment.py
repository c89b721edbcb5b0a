"""Paths are those of the update rules, the rate is the best of the grid, and the race is run on equal terms."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from experiments.tables import rows_of
from gradus.errors import GradusError
from gradus.experiments.optimizers import Optimizers
from gradus.experiments.race import Lap, images, race
from gradus.experiments.trajectories import animate, best_path, follow
from gradus.optim.surfaces import SURFACES


def test_a_path_is_what_the_rule_does() -> None:
    """On the saddle x² − y² gradient descent is x_t = (1 − 2η)^t x_0, y_t = (1 + 2η)^t y_0."""
    surface = SURFACES["saddle"]
    for rate, path in zip((0.01, 0.1), follow(surface, "sgd", (0.01, 0.1), 20), strict=True):
        expected = [surface.start[0] * (1 - 2 * rate) ** t for t in range(21)]
        assert path.x == pytest.approx(expected, rel=1e-5)
        assert path.y == pytest.approx([surface.start[1] * (1 + 2 * rate) ** t for t in range(21)], rel=1e-5)


def test_rates_do_not_disturb_each_other() -> None:
    rates = (0.003, 0.03, 0.3)
    together = follow(SURFACES["beale"], "adam", rates, 30)
    assert together == [follow(SURFACES["beale"], "adam", (rate,), 30)[0] for rate in rates]


def test_the_best_rate_ends_lowest_among_the_paths_that_stay() -> None:
    surface, rates = SURFACES["rosenbrock"], (1e-4, 1e-3, 3e-3, 1e-2, 1.0)
    every = follow(surface, "momentum", rates, 100)
    best = best_path(surface, "momentum", rates, 100)
    assert best.value == min(path.value for path in every if not path.strays)
    assert not best.strays
    with pytest.raises(GradusError, match="diverges"):
        best_path(surface, "sgd", (10.0,), 100)


def test_paths_end_where_they_leave_the_saddle() -> None:
    path = best_path(SURFACES["saddle"], "sgd", (0.03, 0.3), 500)
    assert path.lr == 0.3
    assert abs(path.y[-2]) <= 1.5 < abs(path.y[-1])
    assert path.value == pytest.approx(-(1.5**2), abs=1e-3)


def test_adam_solves_beale_and_descent_stays_in_its_dent_of_rastrigin() -> None:
    rates = (3e-4, 0.03, 0.1, 0.3)
    experiment = Optimizers(optimizers=("sgd", "adam"), surfaces=("beale", "rastrigin"), race=False, rates=rates)
    found = experiment.findings(rows_of(experiment))
    assert found["beale_adam"] < 1e-4 < found["beale_sgd"]
    # The dent at (−3, 2) that contains the start has height 12.93.
    assert found["rastrigin_sgd"] == pytest.approx(12.934, abs=0.01)


def lap(optimizer: str, lr: float, seed: int = 5, epochs: int = 1) -> Lap | None:
    return race(
        images("digits", None, 0), optimizer, lr,
        hidden=(8,), batch_size=32, epochs=epochs, seed=seed, device=torch.device("cpu"),
    )  # fmt: skip


def test_the_race_starts_from_the_same_weights_on_the_same_batches() -> None:
    # At rates that move nothing every rule sees the same losses, batch for batch.
    first, second, third = lap("sgd", 1e-12), lap("adam", 1e-12), lap("sgd", 1e-12)
    assert first is not None
    assert second is not None
    assert first == third
    assert first.losses == pytest.approx(second.losses, rel=1e-6)
    assert lap("sgd", 1e-12, seed=6) != first


def test_a_diverging_rate_is_out_of_the_race() -> None:
    assert lap("momentum", 1e6, epochs=2) is None


def test_the_race_is_won_by_learning() -> None:
    experiment = Optimizers(
        optimizers=("sgd", "adam"), surfaces=(), race_rates=(0.01, 0.3), epochs=6, repeats=1, hidden=(32,)
    )
    rows = rows_of(experiment)
    found = experiment.findings(rows)
    assert {row["optimizer"]: row["lr"] for row in rows} == {"sgd": 0.3, "adam": 0.01}
    assert min(found["test_accuracy_sgd"], found["test_accuracy_adam"]) > 0.9


def test_the_animation_grows(tmp_path: Path) -> None:
    rows = rows_of(Optimizers(optimizers=("sgd", "adam"), surfaces=("beale",), race=False, steps=30))
    animate(rows, tmp_path / "paths.gif", frames=5)
    picture: Any
    with Image.open(tmp_path / "paths.gif") as picture:
        assert picture.n_frames == 5
        coloured = []
        for frame in range(5):
            picture.seek(frame)
            pixels = torch.tensor(list(picture.convert("RGB").getdata()))
            coloured.append(int(((pixels.max(1).values - pixels.min(1).values) > 80).sum()))
    assert coloured == sorted(coloured)
    assert coloured[-1] > coloured[0] + 100


@pytest.mark.parametrize(
    "flags, named",
    [
        ({"surfaces": ("beal",)}, "beale"),
        ({"optimizers": ("adamm",)}, "adam"),
        ({"rates": (0.0,)}, "--rates"),
        ({"race_rates": ()}, "--race-rates"),
        ({"surfaces": (), "race": False}, "nothing to compare"),
    ],
)
def test_what_cannot_be_meant_is_refused(flags: dict, named: str) -> None:
    with pytest.raises(GradusError, match=named):
        Optimizers(**flags)
