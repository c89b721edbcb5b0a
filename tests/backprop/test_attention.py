"""Attention's gradients with respect to Q, K and V against central differences, masks, and what masks promise."""

import numpy as np
import pytest

from backprop.examples import images
from gradus.backprop import Attention, causal_mask, check_gradients
from gradus.errors import GradusError

MASKS = {
    "no mask": (False, None),
    "causal": (True, None),
    "padding": (False, np.arange(5) < np.array([5, 3])[:, None, None, None]),
    "causal and padding": (True, np.arange(5) < np.array([5, 3])[:, None, None, None]),
    "a query without keys": (False, np.arange(4)[:, None] > 0),
}


def qkv() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two samples, three heads, four queries, five keys."""
    return images(2, 3, 4, 6), images(2, 3, 5, 6, seed=1), images(2, 3, 5, 2, seed=2)


@pytest.mark.parametrize("name", MASKS)
def test_gradients_equal_central_differences(name: str) -> None:
    causal, mask = MASKS[name]
    layer, (q, k, v), weights = Attention(causal), qkv(), images(2, 3, 4, 2, seed=3)
    layer.forward(q, k, v, mask)
    dq, dk, dv = layer.backward(weights)
    report = check_gradients(
        lambda: float((weights * layer.forward(q, k, v, mask)).sum()),
        {"q": q, "k": k, "v": v}, {"q": dq, "k": dk, "v": dv}, tolerance=1e-7,
    )  # fmt: skip
    assert report.ok, f"\n{report}"


def test_nothing_flows_from_the_future() -> None:
    layer, (q, k, v) = Attention(causal=True), qkv()
    y = layer.forward(q, k, v)
    k[..., 2:, :], v[..., 2:, :] = 9, 9
    assert np.array_equal(layer.forward(q, k, v)[..., :2, :], y[..., :2, :])
    dy = np.zeros_like(y)
    dy[..., :2, :] = 1
    dq, dk, dv = layer.backward(dy)
    assert not dk[..., 2:, :].any()
    assert not dv[..., 2:, :].any()
    assert not dq[..., 2:, :].any()
    assert dk[..., :2, :].any()


def test_a_query_that_may_look_at_nothing_answers_zero() -> None:
    layer, (q, k, v) = Attention(), qkv()
    y = layer.forward(q, k, v, np.zeros((4, 5), bool))
    assert not y.any()
    assert not any(grad.any() for grad in layer.backward(np.ones_like(y)))


def test_keys_in_another_order_give_the_same_answer() -> None:
    layer, (q, k, v), order = Attention(), qkv(), np.array([3, 1, 4, 0, 2])
    y = layer.forward(q, k, v)
    _, dk, dv = layer.backward(np.ones_like(y))
    assert np.allclose(layer.forward(q, k[..., order, :], v[..., order, :]), y)
    _, dk_other, dv_other = layer.backward(np.ones_like(y))
    assert np.allclose(dk_other, dk[..., order, :])
    assert np.allclose(dv_other, dv[..., order, :])


def test_large_scores_do_not_overflow() -> None:
    layer, (q, k, v) = Attention(), qkv()
    y = layer.forward(1e4 * q, 1e4 * k, v)
    assert np.isfinite(y).all()
    assert all(np.isfinite(grad).all() for grad in layer.backward(np.ones_like(y)))


def test_what_does_not_fit_is_refused() -> None:
    layer, (q, k, v) = Attention(), qkv()
    with pytest.raises(GradusError, match="call forward first"):
        layer.backward(np.zeros((2, 3, 4, 2)))
    with pytest.raises(GradusError, match=r"a mask of \(5, 4\) does not fit scores of \(2, 3, 4, 5\)"):
        layer.forward(q, k, v, np.ones((5, 4), bool))
    assert np.array_equal(causal_mask(2, 3), [[True, False, False], [True, True, False]])
