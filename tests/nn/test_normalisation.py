"""Our normalisations, written from the formulas, equal torch's fused ones, in training and evaluation."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from gradus.errors import GradusError
from gradus.nn.normalisation import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    SpectralNorm,
    WeightNorm,
    normalisation,
    standardise,
)

PAIRS = {
    "batch": (lambda: BatchNorm(8), lambda: nn.BatchNorm2d(8)),
    "group": (lambda: GroupNorm(8, 4), lambda: nn.GroupNorm(4, 8)),
    "instance": (lambda: InstanceNorm(8), lambda: nn.InstanceNorm2d(8, affine=True)),
    "layer": (lambda: LayerNorm((5, 6)), lambda: nn.LayerNorm((5, 6))),
}


def maps(*shape: int) -> Tensor:
    return 3 * torch.randn(*shape, dtype=torch.float64) + 2


@pytest.mark.parametrize("name", PAIRS)
def test_equals_torch(name: str) -> None:
    ours, peer = (make().double() for make in PAIRS[name])
    for one, two in zip(ours.parameters(), peer.parameters(), strict=True):
        one.data = torch.randn_like(one)
        two.data = one.data.clone()
    for training in (True, True, False):
        ours.train(training)
        peer.train(training)
        x = maps(4, 8, 5, 6).requires_grad_()
        y, expected = ours(x), peer(x)
        torch.testing.assert_close(y, expected)
        weights = torch.randn_like(y)
        leaves = (x, *ours.parameters()), (x, *peer.parameters())
        for mine, theirs in zip(
            torch.autograd.grad((y * weights).sum(), leaves[0]),
            torch.autograd.grad((expected * weights).sum(), leaves[1]),
            strict=True,
        ):
            torch.testing.assert_close(mine, theirs)
    if name == "batch":
        torch.testing.assert_close(ours.running_mean, peer.running_mean)
        torch.testing.assert_close(ours.running_var, peer.running_var)


@pytest.mark.parametrize("axes", [(0, 2, 3), (1, 2, 3), (2, 3)])
def test_standardised_is_centred_scaled_and_blind_to_both(axes: tuple[int, ...]) -> None:
    x = maps(4, 8, 5, 6)
    y = standardise(x, axes, eps=0.0)
    torch.testing.assert_close(y.mean(axes), torch.zeros_like(y.mean(axes)))
    torch.testing.assert_close(y.square().mean(axes), torch.ones_like(y.mean(axes)))
    torch.testing.assert_close(standardise(7 * x - 3, axes, eps=0.0), y)


def test_batch_norm_of_vectors_and_of_too_little() -> None:
    ours, peer = BatchNorm(8).double(), nn.BatchNorm1d(8).double()
    x = maps(16, 8)
    torch.testing.assert_close(ours(x), peer(x))
    with pytest.raises(GradusError, match="enlarge the batch"):
        ours(x[:1])
    assert ours.eval()(x[:1]).isfinite().all()


def test_running_statistics_approach_the_data() -> None:
    norm = BatchNorm(3, momentum=0.5).double()
    x = maps(64, 3, 4, 4)
    for _ in range(60):
        norm(x)
    torch.testing.assert_close(norm.eval()(x), norm.train()(x), rtol=1e-3, atol=1e-3)


def test_spectral_norm() -> None:
    torch.manual_seed(0)
    ours = nn.Conv2d(4, 6, 3).double()
    peer = copy.deepcopy(ours)
    parametrize.register_parametrization(ours, "weight", SpectralNorm(ours.weight, warm_up=200))
    parametrizations.spectral_norm(peer, n_power_iterations=200)
    torch.testing.assert_close(torch.linalg.matrix_norm(ours.weight.flatten(1), 2), torch.ones((), dtype=torch.float64))
    x = torch.randn(2, 4, 7, 7, dtype=torch.float64)
    torch.testing.assert_close(ours(x), peer(x))
    # In evaluation the estimate rests; in training one iteration follows a change of the weight.
    ours.eval()
    assert torch.equal(ours.weight, ours.weight)
    ours.train()
    with torch.no_grad():
        ours.parametrizations.weight.original.mul_(5)
    ours(x).sum().backward()
    largest = torch.linalg.matrix_norm(ours.weight.detach().flatten(1), 2)
    torch.testing.assert_close(largest, torch.ones_like(largest))


def test_weight_norm() -> None:
    ours = nn.Conv2d(4, 6, 3).double()
    peer = copy.deepcopy(ours)
    parametrize.register_parametrization(ours, "weight", WeightNorm())
    parametrizations.weight_norm(peer)
    x = torch.randn(2, 4, 7, 7, dtype=torch.float64)
    torch.testing.assert_close(ours(x), peer(x))
    with torch.no_grad():
        ours.parametrizations.weight.original0.fill_(2.0)
    torch.testing.assert_close(ours.weight.flatten(1).norm(dim=1), torch.full((6,), 2.0, dtype=torch.float64))


@pytest.mark.parametrize("name", ["batch", "group", "instance", "layer", "none"])
def test_by_name(name: str) -> None:
    norm = normalisation(name)(24)
    x = torch.randn(4, 24, 5, 5)
    y = norm(x)
    assert y.shape == x.shape
    axes = {"batch": (0, 2, 3), "instance": (2, 3), "layer": (1, 2, 3)}.get(name)
    if axes:
        torch.testing.assert_close(y, standardise(x, axes), rtol=1e-4, atol=1e-5)


def test_mistakes() -> None:
    with pytest.raises(GradusError, match="did you mean 'batch'"):
        normalisation("bath")
    with pytest.raises(GradusError, match="do not divide"):
        GroupNorm(10, 4)
