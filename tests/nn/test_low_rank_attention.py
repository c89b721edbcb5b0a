"""Low-rank attention: with as many mixtures as tokens it is full attention; padding counts for nothing."""

import pytest
import torch

from gradus.errors import GradusError
from gradus.nn.attention import SelfAttention
from gradus.nn.low_rank_attention import LowRankAttention


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return LowRankAttention(8, 2, tokens=6, rank=3).double()


def test_with_the_identity_for_mixtures_it_is_full_attention():
    torch.manual_seed(1)
    low, full = LowRankAttention(8, 2, tokens=5, rank=5).double(), SelfAttention(8, 2).double()
    with torch.no_grad():
        low.mix_keys.copy_(torch.eye(5))
        low.mix_values.copy_(torch.eye(5))
    low.load_state_dict(full.state_dict(), strict=False)
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(low(x), full(x), rtol=0, atol=1e-12)


def test_what_is_gathered_has_the_rank_of_the_mixtures(layer):
    """All outputs are convex combinations of `rank` mixed values, so beyond the bias they span no more."""
    x = torch.randn(1, 6, 8, dtype=torch.float64)
    _, _, value = layer.qkv(x).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
    mixed = layer.mix_values @ value
    assert mixed.shape == (1, 2, 3, 4)
    spanned = torch.linalg.matrix_rank((layer(x) - layer.out.bias)[0])
    assert spanned <= 2 * 3


def test_padding_counts_for_nothing(layer):
    x = torch.randn(1, 4, 8, dtype=torch.float64)
    filled = torch.cat([x, torch.randn(1, 2, 8, dtype=torch.float64)], 1)
    there = torch.tensor([[True] * 4 + [False] * 2])
    torch.testing.assert_close(layer(filled, mask=there)[:, :4], layer(x))


def test_every_parameter_learns_and_a_shared_mixture_is_one(layer):
    layer(torch.randn(2, 6, 8, dtype=torch.float64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in layer.parameters())
    shared = LowRankAttention(8, 2, tokens=6, rank=3, shared=True)
    assert len(list(shared.parameters())) == len(list(layer.parameters())) - 1


@pytest.mark.parametrize(
    "settings",
    [
        {"heads": 3, "rank": 2},
        {"heads": 2, "rank": 7},
        {"heads": 2, "rank": 0},
        {"heads": 2, "rank": 2, "dropout": 1.0},
    ],
)
def test_what_cannot_be_is_refused(settings):
    with pytest.raises(GradusError):
        LowRankAttention(8, tokens=6, **settings)


def test_longer_sequences_than_were_learned_are_refused(layer):
    with pytest.raises(GradusError, match="7 tokens are more than the 6"):
        layer(torch.randn(1, 7, 8, dtype=torch.float64))
