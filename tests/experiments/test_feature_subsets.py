"""Cross-validated subsets: the planted one is found, and the Gram matrices give what refitting gives."""

from itertools import combinations
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.tables import rows_of
from gradus.data.splits import folds_of
from gradus.errors import GradusError
from gradus.experiments.feature_subsets import FeatureSubsets, Folded


def data(seed: int, rows: int = 60, features: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = 3 + torch.randn(rows, features, generator=generator, dtype=torch.float64)
    y = 10 + x[:, 1] - 2 * x[:, 3] + torch.randn(rows, generator=generator, dtype=torch.float64)
    return x, y, folds_of(torch.zeros(rows, dtype=torch.int64), 7, seed)


def refitted(x: torch.Tensor, y: torch.Tensor, fold: torch.Tensor, subset: tuple[int, ...]) -> torch.Tensor:
    """Cross-validate the plain way, one fold after the other."""
    design = torch.cat([torch.ones_like(x[:, :1]), x[:, list(subset)]], 1)
    errors = []
    for held in range(int(fold.max()) + 1):
        out = fold == held
        w = torch.linalg.lstsq(design[~out], y[~out, None]).solution[:, 0]
        errors.append((y[out] - design[out] @ w).square().mean())
    return torch.stack(errors)


@given(seed=st.integers(0, 10**6), size=st.integers(0, 5))
@settings(max_examples=12, deadline=None)
def test_gram_matrices_cross_validate_as_refitting_does(seed: int, size: int) -> None:
    x, y, fold = data(seed)
    subsets = list(combinations(range(5), size))
    expected = torch.stack([refitted(x, y, fold, subset) for subset in subsets])
    torch.testing.assert_close(Folded(x, y, fold).errors(subsets), expected, rtol=1e-9, atol=1e-11)


def test_collinear_features_are_no_obstacle() -> None:
    x, y, fold = data(0)
    doubled = torch.cat([x, x[:, [1]] + x[:, [3]]], 1)
    found = Folded(doubled, y, fold).errors([(1, 3, 5)])
    torch.testing.assert_close(found, Folded(x, y, fold).errors([(1, 3)]), rtol=1e-9, atol=0)


def test_weights_of_all_rows_are_least_squares() -> None:
    x, y, fold = data(3)
    design = torch.cat([torch.ones_like(x[:, :1]), x[:, [0, 3]]], 1)
    expected = torch.linalg.lstsq(design, y[:, None]).solution[:, 0]
    found = Folded(x, y, fold).weights((0, 3))
    torch.testing.assert_close(found[[0, 1, 4]], expected)
    assert found[[2, 3, 5]].abs().max() == 0


def test_no_subset_of_a_size_beats_the_exhaustive_one() -> None:
    folded = Folded(*data(5))
    best = folded.exhaustive()
    for size, one in enumerate(best):
        every = folded.errors(list(combinations(range(5), size))).mean(1)
        assert one.mean == pytest.approx(every.min().item())
    assert all(a.mean >= b.mean - 1e-12 for a, b in zip(folded.forward(), best, strict=True))


def test_the_planted_subset_is_found() -> None:
    experiment = FeatureSubsets(repeats=10)
    found = experiment.findings(rows_of(experiment))
    assert found["forward_recovered"] == 1
    assert found["exhaustive_recovered"] == 1
    assert found["exhaustive_true_error"] == pytest.approx(1.0, abs=0.05), "σ² and a little for three weights"


def test_the_rule_of_one_standard_error_keeps_chance_features_out() -> None:
    careful = FeatureSubsets(repeats=8, features=8)
    eager = FeatureSubsets(repeats=8, features=8, rule="least")
    careful_size, eager_size = (e.findings(rows_of(e))["exhaustive_size"] for e in (careful, eager))
    assert careful_size == 3
    assert eager_size > 3.5


def test_without_noise_nothing_is_left() -> None:
    row = rows_of(FeatureSubsets(noise=0.0, repeats=1, features=6))[0]
    assert row["chosen"] == row["planted"]
    assert row["cv_error"] < 1e-13, "the rounding of sums of squares, which cancel"
    assert row["true_error"] < 1e-20


def test_the_true_error_is_the_error_on_fresh_rows() -> None:
    experiment = FeatureSubsets(correlation=0.6, examples=50_000, features=4, informative=2)
    planted = experiment._plant(torch.Generator().manual_seed(1))
    fitted = torch.tensor([0.3, 1.0, 0.0, -1.0, 0.5], dtype=torch.float64)
    measured = (planted.y - fitted[0] - planted.x @ fitted[1:]).square()
    expected = planted.error(fitted)
    assert measured.mean().item() == pytest.approx(expected, abs=5 * measured.std().item() / 50_000**0.5)


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    x = torch.randn(80, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    lines = ["size,colour,weight,price"]
    for i, (size, weight, noise) in enumerate(x.tolist()):
        red = i % 2 == 0
        lines.append(f"{size},{'red' if red else 'blue'},{weight},{2 * weight + 8 * red + noise / 4}")
    path = tmp_path / "prices.csv"
    path.write_text("\n".join(lines) + "\n")
    experiment = FeatureSubsets(data=str(path), target="price", repeats=1)
    rows = rows_of(experiment)
    assert {row["method"] for row in rows} == {"forward", "exhaustive"}
    for row in rows:
        chosen = [row["names"][j] for j in row["chosen"]]
        assert any(name.startswith("colour") for name in chosen), f"the colour is most of the price: {chosen}"
        assert "size" not in chosen
    assert "exhaustive_recovered" not in experiment.findings(rows)


def test_many_features_are_searched_forward_only() -> None:
    assert {cell["method"] for cell in FeatureSubsets(features=13).cells()} == {"forward"}


@pytest.mark.parametrize(
    "flags, named",
    [
        ({"informative": 11}, "--informative"),
        ({"correlation": 1.0}, "--correlation"),
        ({"folds": 1}, "--folds"),
        ({"examples": 5}, "--folds"),
        ({"target": "price"}, "--target price"),
        ({"noise": -1.0}, "--noise"),
    ],
)
def test_what_cannot_be_meant_is_refused(flags: dict, named: str) -> None:
    with pytest.raises(GradusError, match=named):
        FeatureSubsets(**flags)
