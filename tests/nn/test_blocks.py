"""Parameter and multiply-add formulas of the blocks equal what is counted; what a block claims to be, it is."""

import pytest
import torch
from torch import nn

from gradus.nn.attention import SelfAttention
from gradus.nn.convolution import convolution, depthwise_separable, spatially_separable
from gradus.nn.dense import dense_block, transition
from gradus.nn.inception import Inception, Widths
from gradus.nn.residual import BASIC, BOTTLENECK, residual
from gradus.nn.squeeze_excitation import SqueezeExcitation
from gradus.nn.summary import summary
from gradus.nn.transformer import TransformerBlock

C, D, H, W = 8, 16, 10, 12
AREA = H * W
WIDTHS = Widths(4, 3, 6, 2, 5, 7)


def inception_weights(kernel: int) -> int:
    w = WIDTHS
    reductions = C * (w.one + w.reduce_three + w.reduce_five + w.pool)
    return reductions + 9 * w.reduce_three * w.three + kernel**2 * w.reduce_five * w.five


# Block; weights of its convolutions; weights elsewhere (normalisation, biases); multiply-adds.
FORMULAS = {
    "1×1": (lambda: convolution(C, D), C * D, 0, C * D * AREA),
    "3×3": (lambda: convolution(C, D, 3), 9 * C * D, 0, 9 * C * D * AREA),
    "strided": (lambda: convolution(C, D, 3, stride=2), 9 * C * D, 0, 9 * C * D * AREA // 4),
    "dilated": (lambda: convolution(C, D, 3, dilation=2), 9 * C * D, 0, 9 * C * D * AREA),
    "grouped": (lambda: convolution(C, D, 3, groups=4), 9 * C * D // 4, 0, 9 * C * D * AREA // 4),
    "depthwise": (lambda: depthwise_separable(C, D), 9 * C + C * D, 2 * (C + D), (9 * C + C * D) * AREA),
    "spatial": (lambda: spatially_separable(C, D, 3), 3 * C * D + 3 * D * D, 0, (3 * C * D + 3 * D * D) * AREA),
    "basic": (lambda: residual(C, C, BASIC), 18 * C * C, 4 * C, 18 * C * C * AREA),
    "bottleneck": (lambda: residual(4 * C, C, BOTTLENECK), 17 * C * C, 12 * C, 17 * C * C * AREA),
    "widening": (
        lambda: residual(C, C, BOTTLENECK, stride=2),
        C * C + 9 * C * C + 4 * C * C + 4 * C * C,
        4 * C + 16 * C,
        C * C * AREA + (9 + 4 + 4) * C * C * AREA // 4,
    ),
    "v2": (lambda: residual(4 * C, C, BOTTLENECK, preactivated=True), 17 * C * C, 12 * C, 17 * C * C * AREA),
    "dense": (lambda: dense_block(C, 1, 4), C * 16 + 9 * 16 * 4, 2 * C + 32, (C * 16 + 9 * 16 * 4) * AREA),
    "transition": (lambda: transition(C, D), C * D, 2 * C, C * D * AREA),
    "excitation": (lambda: SqueezeExcitation(C, 4), 2 * C * 2, 2 + C, 2 * C * 2),
    "inception": (
        lambda: Inception(C, WIDTHS),
        inception_weights(5),
        2 * (sum(WIDTHS)),
        inception_weights(5) * AREA,
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas(name: str) -> None:
    make, weights, others, work = FORMULAS[name]
    counted = summary(make(), (1, 4 * C if name in ("bottleneck", "v2") else C, H, W))
    assert counted.parameters == weights + others
    assert counted.multiply_adds == work


def test_separable_kernels_equal_their_product() -> None:
    """A k×1 then a 1×k is the convolution by the outer product; a depthwise then a 1×1 by products over channels."""
    x = torch.rand(1, 1, 9, 9, dtype=torch.float64)
    pair = spatially_separable(1, 1, 3).double()
    outer = pair.vertical.weight * pair.horizontal.weight
    torch.testing.assert_close(pair(x), nn.functional.conv2d(x, outer, padding=1))

    x = torch.rand(2, C, 9, 9, dtype=torch.float64)
    block = depthwise_separable(C, D, norm=lambda channels: nn.Identity()).double()
    block.depthwise.relu, block.pointwise.relu = nn.Identity(), nn.Identity()
    full = block.pointwise.conv.weight * block.depthwise.conv.weight.transpose(0, 1)
    torch.testing.assert_close(block(x), nn.functional.conv2d(x, full, padding=1))


def test_dense_layers_keep_what_came_before() -> None:
    block = dense_block(C, 3, 4).eval()
    x = torch.rand(2, C, 5, 5)
    y = block(x)
    assert y.shape[1] == C + 3 * 4
    assert torch.equal(y[:, :C], x)
    assert torch.equal(y[:, : C + 4], block[0](x))


def test_gates_lie_between_zero_and_one_and_do_not_see_positions() -> None:
    block = SqueezeExcitation(C, 2)
    x = torch.rand(2, C, 5, 5) + 0.1
    gates = block(x) / x
    assert ((gates > 0) & (gates < 1)).all()
    torch.testing.assert_close(gates, gates[:, :, :1, :1].expand_as(gates))
    torch.testing.assert_close(block(x.flip(2, 3)), block(x).flip(2, 3))


class TestAttention:
    def attend(self, module: SelfAttention, x: torch.Tensor, allowed: torch.Tensor | None = None) -> torch.Tensor:
        """Return attention as its definition says, one head at a time."""
        query, key, value = module.qkv(x).chunk(3, -1)
        heads = []
        for q, k, v in zip(*(part.chunk(module.heads, -1) for part in (query, key, value)), strict=True):
            scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
            if allowed is not None:
                scores = scores.masked_fill(~allowed, -torch.inf)
            heads.append(scores.softmax(-1) @ v)
        return module.out(torch.cat(heads, -1))

    def test_equals_its_definition_and_torch(self) -> None:
        module = SelfAttention(12, 3).double()
        x = torch.randn(2, 5, 12, dtype=torch.float64)
        torch.testing.assert_close(module(x), self.attend(module, x))
        peer = nn.MultiheadAttention(12, 3, batch_first=True).double()
        peer.in_proj_weight.data, peer.in_proj_bias.data = module.qkv.weight.data, module.qkv.bias.data
        peer.out_proj.load_state_dict(module.out.state_dict())
        torch.testing.assert_close(module(x), peer(x, x, x)[0])

    def test_masks(self) -> None:
        module = SelfAttention(12, 3).double()
        x = torch.randn(2, 5, 12, dtype=torch.float64)
        triangle = torch.ones(5, 5, dtype=torch.bool).tril()
        torch.testing.assert_close(module(x, causal=True), self.attend(module, x, triangle))
        torch.testing.assert_close(module(x, mask=triangle[None, None]), self.attend(module, x, triangle))

    def test_permuted_tokens_give_permuted_answers(self) -> None:
        block = TransformerBlock(12, 3).double()
        x = torch.randn(2, 6, 12, dtype=torch.float64)
        order = torch.randperm(6)
        torch.testing.assert_close(block(x[:, order]), block(x)[:, order])

    def test_the_block_equals_torchs_pre_norm_layer(self) -> None:
        ours = TransformerBlock(12, 3, hidden=20).double()
        peer = nn.TransformerEncoderLayer(
            12, 3, 20, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
        ).double()
        pairs = {
            "self_attn.in_proj_weight": ours.attention.qkv.weight,
            "self_attn.in_proj_bias": ours.attention.qkv.bias,
            "self_attn.out_proj.weight": ours.attention.out.weight,
            "self_attn.out_proj.bias": ours.attention.out.bias,
            "linear1.weight": ours.mlp.linear1.weight,
            "linear1.bias": ours.mlp.linear1.bias,
            "linear2.weight": ours.mlp.linear2.weight,
            "linear2.bias": ours.mlp.linear2.bias,
            "norm1.weight": ours.norm1.weight,
            "norm1.bias": ours.norm1.bias,
            "norm2.weight": ours.norm2.weight,
            "norm2.bias": ours.norm2.bias,
        }
        peer.load_state_dict(pairs)
        x = torch.randn(2, 6, 12, dtype=torch.float64)
        torch.testing.assert_close(ours(x), peer(x))
