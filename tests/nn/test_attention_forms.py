"""Attention in all its forms against its definition, the quadratic form or the full pass."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradus.errors import GradusError
from gradus.nn import attention_kernels as kernels
from gradus.nn.attention import CrossAttention, KeyValueCache, LinearCache, SelfAttention
from gradus.nn.positions import LearnedPositions, rotate, sinusoids
from gradus.nn.scored_attention import ScoredAttention
from gradus.nn.transformer import TransformerBlock


def heads(tokens, width=6, seed=0, batch=2, count=3):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, count, tokens, width, generator=generator, dtype=torch.float64) for _ in range(3)]


def defined(query, key, value, allowed):
    """Return softmax attention over the allowed pairs, as its definition says."""
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    return scores.masked_fill(~allowed, -torch.inf).softmax(-1) @ value


@given(tokens=st.integers(1, 23), window=st.integers(1, 9), causal=st.booleans(), seed=st.integers(0, 99))
def test_local_attention_is_full_attention_within_the_window(tokens, window, causal, seed):
    q, k, v = heads(tokens, seed=seed)
    i, j = torch.arange(tokens)[:, None], torch.arange(tokens)
    allowed = ((i - j).abs() <= window) & ((j <= i) | (not causal))
    assert torch.allclose(kernels.local(q, k, v, window=window, causal=causal), defined(q, k, v, allowed), atol=1e-12)


@given(tokens=st.integers(2, 17), window=st.integers(1, 5), seed=st.integers(0, 99))
def test_local_attention_leaves_masked_keys_out(tokens, window, seed):
    q, k, v = heads(tokens, seed=seed)
    there = torch.rand(2, 1, 1, tokens, generator=torch.Generator().manual_seed(seed)) < 0.7
    i, j = torch.arange(tokens)[:, None], torch.arange(tokens)
    allowed = ((i - j).abs() <= window) & there
    found = kernels.local(q, k, v, window=window, mask=there)
    sees = allowed.any(-1).expand(2, 3, tokens)  # what a token that may look nowhere gathers is not defined
    assert torch.allclose(found[sees], defined(q, k, v, allowed)[sees], atol=1e-12)


@given(height=st.integers(1, 5), width=st.integers(1, 6), radius=st.integers(0, 3))
def test_local_attention_on_a_grid_is_full_attention_within_the_square(height, width, radius):
    q, k, v = heads(height * width)
    y, x = (c.flatten() for c in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
    allowed = torch.maximum((y[:, None] - y).abs(), (x[:, None] - x).abs()) <= radius
    found = kernels.local_2d(q, k, v, grid=(height, width), radius=radius)
    assert torch.allclose(found, defined(q, k, v, allowed), atol=1e-12)


@pytest.mark.parametrize("tokens", [1, 5, 64, 65, 150])
@pytest.mark.parametrize("causal", [False, True])
def test_linear_attention_equals_its_quadratic_form(tokens, causal):
    q, k, v = heads(tokens)
    weights = (torch.nn.functional.elu(q) + 1) @ (torch.nn.functional.elu(k) + 1).transpose(-1, -2)
    weights = weights.tril() if causal else weights
    quadratic = weights / weights.sum(-1, keepdim=True) @ v
    assert torch.allclose(kernels.linear(q, k, v, causal=causal), quadratic, atol=1e-11)


def test_linear_attention_leaves_masked_keys_out():
    q, k, v = heads(9)
    there = torch.tensor([True] * 6 + [False] * 3).expand(2, 1, 1, 9)
    found = kernels.linear(q, k, v, mask=there)
    assert torch.allclose(found, kernels.linear(q, k[:, :, :6], v[:, :, :6]), atol=1e-12)


@given(past=st.integers(0, 7), new=st.integers(1, 7))
def test_causal_queries_are_those_of_the_last_tokens(past, new):
    q, k, v = heads(past + new)
    whole = kernels.full(q, k, v, causal=True)
    assert torch.allclose(kernels.full(q[:, :, past:], k, v, causal=True), whole[:, :, past:], atol=1e-12)


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("pieces", [(1,) * 8, (5, 1, 2), (8,)])
def test_a_cache_gives_what_the_full_pass_gives(rotary, pieces):
    torch.manual_seed(0)
    block = TransformerBlock(12, 3, rotary=rotary).double().eval()
    x = torch.randn(2, 8, 12, dtype=torch.float64)
    cache = KeyValueCache(8)
    found = torch.cat([block(part, causal=True, cache=cache) for part in x.split(pieces, 1)], 1)
    assert torch.allclose(found, block(x, causal=True), atol=1e-12)
    with pytest.raises(GradusError, match="make it larger"):
        block(x[:, :1], causal=True, cache=cache)


@given(past=st.integers(0, 9), new=st.integers(1, 6), window=st.integers(1, 5), masked=st.booleans())
def test_causal_local_queries_are_those_of_the_last_tokens(past, new, window, masked):
    q, k, v = heads(past + new)
    there = (torch.arange(past + new) >= torch.tensor([0, past // 2])[:, None])[:, None, None] if masked else None
    whole = kernels.local(q, k, v, window=window, causal=True, mask=there)
    found = kernels.local(q[:, :, past:], k, v, window=window, causal=True, mask=there)
    assert torch.allclose(found, whole[:, :, past:], atol=1e-12)


@given(past=st.integers(0, 70), new=st.integers(1, 70), masked=st.booleans())
def test_linear_attention_goes_on_from_the_sums_of_the_past(past, new, masked):
    q, k, v = heads(past + new)
    there = (torch.arange(past + new) >= torch.tensor([0, past // 2])[:, None])[:, None, None] if masked else None
    before, behind = (None, None) if there is None else (there[..., :past], there[..., past:])
    sums = kernels.linear_sums(k[:, :, :past], v[:, :, :past], before)
    whole = kernels.linear(q, k, v, causal=True, mask=there)[:, :, past:]
    parts = [x[:, :, past:] for x in (q, k, v)]
    assert torch.allclose(kernels.linear(*parts, causal=True, mask=behind, past=sums), whole, atol=1e-11)
    every = kernels.linear(q[:, :, past:], k, v, mask=there)
    assert torch.allclose(kernels.linear(*parts, mask=behind, past=sums), every, atol=1e-11)


@pytest.mark.parametrize("attend", [kernels.full, kernels.linear])
def test_who_may_look_nowhere_gathers_zero(attend):
    q, k, v = heads(5)
    found = attend(q, k, v, mask=torch.zeros(2, 1, 1, 5, dtype=torch.bool))
    assert (found == 0).all()


@pytest.mark.parametrize("causal", [False, True])
def test_bfloat16_trains_by_plain_products_as_by_the_fused_kernel(causal):
    q, k, v = (x.bfloat16().requires_grad_() for x in heads(40, width=16))
    fused = kernels.full(*(x.detach() for x in (q, k, v)), causal=causal)
    found = kernels.full(q, k, v, causal=causal)
    assert torch.allclose(found.detach().float(), fused.float(), atol=0.03)
    wide = [x.detach().double().requires_grad_() for x in (q, k, v)]
    pull = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    expected = torch.autograd.grad(kernels.full(*wide, causal=causal), wide, pull.double())
    for mine, other in zip(torch.autograd.grad(found, (q, k, v), pull.bfloat16()), expected):
        assert (mine.double() - other).norm() < 0.02 * other.norm()
    torch.manual_seed(0)
    many = torch.stack([kernels.full(q, k, v, causal=causal, dropout=0.3).detach().float() for _ in range(200)])
    assert torch.allclose(many.mean(0), fused.float(), atol=0.4)
    assert (many.std(0).flatten(2).amax(-1) > 0.1).all()


@pytest.mark.parametrize("kernel", ["full", "local", "linear"])
@pytest.mark.parametrize("pieces", [(1,) * 8, (5, 1, 2), (8,)])
def test_every_kind_of_attention_remembers(kernel, pieces):
    torch.manual_seed(0)
    attention = SelfAttention(12, 3, kernel=kernel, window=3 if kernel == "local" else None).double()
    x = torch.randn(2, 8, 12, dtype=torch.float64)
    cache = attention.cache(8)
    found = torch.cat([attention(part, causal=True, cache=cache) for part in x.split(pieces, 1)], 1)
    assert torch.allclose(found, attention(x, causal=True), atol=1e-12)
    assert cache.length == 8
    cache.reorder(torch.tensor([1]))
    assert repr(cache) in ("KeyValueCache(8 of 8)", "LinearCache(8)")


def test_a_reordered_cache_goes_on_from_the_rows_it_was_given():
    torch.manual_seed(0)
    attention = SelfAttention(8, 2).double()
    x = torch.randn(3, 4, 8, dtype=torch.float64)
    rows = torch.tensor([2, 2, 0])
    cache = KeyValueCache(5)
    attention(x, causal=True, cache=cache)
    cache.reorder(rows)
    new = torch.randn(3, 1, 8, dtype=torch.float64)
    whole = attention(torch.cat([x[rows], new], 1), causal=True)
    assert torch.allclose(attention(new, causal=True, cache=cache), whole[:, -1:], atol=1e-12)


def test_a_causal_block_does_not_see_what_comes_later():
    torch.manual_seed(0)
    for kernel, window in (("full", None), ("local", 3), ("linear", None)):
        block = TransformerBlock(8, 2, kernel=kernel, window=window).double()
        x = torch.randn(1, 12, 8, dtype=torch.float64)
        other = torch.cat([x[:, :7], torch.randn(1, 5, 8, dtype=torch.float64)], 1)
        assert torch.allclose(block(x, causal=True)[:, :7], block(other, causal=True)[:, :7], atol=1e-12)
        assert not torch.allclose(block(x)[:, :7], block(other)[:, :7])


@pytest.mark.parametrize("score", ["dot", "scaled", "multiplicative", "additive"])
def test_scored_attention_is_a_weighted_mean_over_what_is_there(score):
    torch.manual_seed(0)
    width = 5 if score in ("dot", "scaled") else 7
    attention = ScoredAttention(score, 5, width).double()
    query, keys = torch.randn(2, 3, 5, dtype=torch.float64), torch.randn(2, 6, width, dtype=torch.float64)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    context, weights = attention(query, keys, mask=mask)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 3, dtype=torch.float64))
    assert (weights[1, :, 4:] == 0).all()
    assert torch.allclose(context, weights @ keys)
    again = attention(query[1:, :1], keys[1:, :4], prepared=attention.prepare(keys[1:, :4]))[0]
    assert torch.allclose(again, context[1:, :1])


def test_the_scores_are_their_formulas():
    torch.manual_seed(0)
    q, k = torch.randn(4, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    additive = ScoredAttention("additive", 4, 4, hidden=3).double()
    multiplicative = ScoredAttention("multiplicative", 4, 4).double()
    expected = {
        "additive": ((additive.query.weight @ q + k @ additive.key.weight.T + additive.key.bias).tanh())
        @ additive.vector.weight[0],
        "multiplicative": (k @ multiplicative.weight.weight.T) @ q,
    }
    for module in (additive, multiplicative):
        weights = module(q[None, None], k[None])[1]
        assert torch.allclose(weights[0, 0], expected[module.score].softmax(0))


@given(shift=st.integers(0, 40), s=st.integers(0, 20), t=st.integers(0, 20))
def test_rotated_products_depend_on_the_distance_alone(shift, s, t):
    q, k = torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    at = lambda x, p: rotate(x, torch.tensor([p]))
    assert torch.allclose(at(q, s) @ at(k, t).T, at(q, s + shift) @ at(k, t + shift).T, atol=1e-5)
    assert torch.allclose(at(q, s).norm(), q.norm(), atol=1e-6)


def test_sinusoids_are_those_of_the_paper_and_rotations_of_each_other():
    found = sinusoids(torch.arange(50), 6)
    assert found[7, 2].item() == pytest.approx(math.sin(7 / 10_000 ** (2 / 6)), abs=1e-6)
    assert found[7, 5].item() == pytest.approx(math.cos(7 / 10_000 ** (4 / 6)), abs=1e-6)
    products = found @ found.T
    for distance in (1, 5, 20):
        along = products.diagonal(distance)
        assert torch.allclose(along, along[0].expand_as(along), atol=1e-4)


def test_learned_positions_end_where_they_end():
    positions = LearnedPositions(4, 6)
    assert torch.equal(positions(torch.arange(4)), positions.weight)
    with pytest.raises(GradusError, match="4 positions"):
        positions(torch.arange(5))


@pytest.mark.parametrize(
    "attempt, told",
    [
        (lambda: SelfAttention(10, 3), "divisor"),
        (lambda: SelfAttention(12, 3, kernel="local"), "window"),
        (lambda: SelfAttention(12, 3, window=2), "window"),
        (lambda: SelfAttention(12, 3, kernel="sparse"), "sparse"),
        (lambda: SelfAttention(12, 3, dropout=1.0), "dropout"),
        (lambda: SelfAttention(12, 4, rotary=True)(torch.randn(1, 2, 12)), "even"),
        (lambda: SelfAttention(12, 3)(torch.randn(1, 2, 12), cache=KeyValueCache(4)), "causal"),
        (lambda: SelfAttention(12, 3)(torch.randn(1, 2, 12), causal=True, cache=LinearCache()), "kind of attention"),
        (lambda: kernels.local(*heads(5), window=0), "window"),
        (lambda: kernels.local(*heads(5), window=2, mask=torch.ones(1, 1, 5, 5, dtype=torch.bool)), "keys only"),
        (lambda: kernels.linear(*heads(5), mask=torch.ones(1, 1, 5, 5, dtype=torch.bool)), "keys only"),
        (lambda: CrossAttention(10, 3), "divisor"),
        (lambda: ScoredAttention("dot", 4, 5), "multiplicative"),
        (lambda: TransformerBlock(12, 3, norm="both"), "both"),
        (lambda: TransformerBlock(12, 3, source=8)(torch.randn(1, 2, 12)), "source"),
        (lambda: kernels.local_2d(*heads(5), grid=(2, 3), radius=1), "6 tokens"),
    ],
)
def test_what_cannot_be_meant_is_refused(attempt, told, request):
    from jaxtyping import TypeCheckError

    with pytest.raises((GradusError, TypeCheckError)) as caught:
        attempt()
    if isinstance(caught.value, GradusError):
        assert told in str(caught.value)
