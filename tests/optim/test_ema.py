"""The moving average: closed form, exact swap, exact resume into live tensors."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gradus.engine.updater import Updater
from gradus.errors import GradusError
from gradus.optim.ema import EMA
from gradus.optim.sgd import sgd


@given(st.floats(0, 1), st.lists(st.floats(-5, 5), min_size=1, max_size=12))
def test_without_warm_up_it_is_the_geometric_sum(decay: float, values: list[float]) -> None:
    param = torch.tensor([0.5], dtype=torch.float64)
    ema = EMA([param], decay=decay, warmup=False)
    for value in values:
        param.fill_(value)
        ema.update()
    n = len(values)
    expected = decay**n * 0.5 + (1 - decay) * sum(decay ** (n - 1 - i) * v for i, v in enumerate(values))
    assert ema.shadow[0].item() == pytest.approx(expected, abs=1e-12)


def test_warm_up_follows_the_count_until_the_decay_takes_over() -> None:
    param = torch.zeros(1, dtype=torch.float64)
    ema, mean, rates = EMA([param], decay=0.7), 0.0, []
    for t in range(40):
        rate = min(0.7, (1 + t) / (10 + t))
        rates.append(ema.rate())
        assert ema.rate() == rate
        param.fill_(float(t * t))
        ema.update()
        mean = rate * mean + (1 - rate) * t * t
    assert ema.shadow[0].item() == pytest.approx(mean, rel=1e-12)
    assert rates[0] == 0.1
    assert rates[-1] == 0.7


def _model() -> list[Tensor]:
    torch.manual_seed(0)
    weight = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    return [weight.requires_grad_(), torch.randn(7, requires_grad=True), torch.arange(3)]


def test_swap_shows_the_averages_and_restores_every_bit_even_after_an_error() -> None:
    params = _model()
    with torch.no_grad():
        params[1][0], params[1][1] = float("nan"), -0.0
    ema = EMA(params, decay=0.9)
    ema.shadow[0].fill_(2.0)
    before = [param.detach().clone().contiguous().view(torch.int32) for param in params[:2]]
    held = [(param.data_ptr(), param.stride()) for param in params]

    class Trouble(Exception):
        pass

    def use_and_fail() -> None:
        with ema.swap():
            assert params[0].eq(2).all()
            assert params[0].stride() == held[0][1]
            assert torch.is_grad_enabled(), "explanations inside the block need gradients"
            raise Trouble

    with pytest.raises(Trouble):
        use_and_fail()
    after = [param.detach().contiguous().view(torch.int32) for param in params[:2]]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert [(param.data_ptr(), param.stride()) for param in params] == held
    with ema.swap():
        assert params[0].eq(2).all()


def test_swap_does_not_nest_and_update_waits() -> None:
    ema = EMA(_model())
    with ema.swap():
        with pytest.raises(GradusError, match="do not nest"), ema.swap():
            pass
        with pytest.raises(AssertionError, match="leave swap"):
            ema.update()
    ema.update()


def test_resumes_bit_identically_into_live_tensors_with_strides() -> None:
    def drift(params: list[Tensor], seed: int) -> None:
        with torch.no_grad():
            for param in params[:2]:
                param.add_(torch.randn(param.shape, generator=torch.Generator().manual_seed(seed)))
            params[2].add_(1)

    params = _model()
    ema = EMA(params, decay=0.9)
    for seed in range(3):
        drift(params, seed)
        ema.update()
    written = {"updates": ema.updates, "shadow": [t.clone(memory_format=torch.contiguous_format) for t in ema.shadow]}
    weights = [param.detach().clone() for param in params]
    for seed in range(3, 6):
        drift(params, seed)
        ema.update()

    again = _model()
    with torch.no_grad():
        for param, weight in zip(again, weights, strict=True):
            param.copy_(weight)
    resumed = EMA(again, decay=0.9)
    held = [(t.data_ptr(), t.stride()) for t in resumed.shadow]
    resumed.load_state_dict(written)
    assert [(t.data_ptr(), t.stride()) for t in resumed.shadow] == held
    for seed in range(3, 6):
        drift(again, seed)
        resumed.update()
    assert resumed.updates == ema.updates == 6
    assert all(torch.equal(a, b) for a, b in zip(resumed.shadow, ema.shadow, strict=True))


def test_shadow_has_the_parameters_strides_and_integers_follow() -> None:
    params = _model()
    ema = EMA(params)
    assert [t.stride() for t in ema.shadow] == [p.stride() for p in params]
    assert not any(t.requires_grad for t in ema.shadow)
    params[2].add_(5)
    ema.update()
    assert torch.equal(ema.shadow[2], params[2])


def test_half_precision_is_averaged_in_single() -> None:
    """From 1 to 1.0078125 (its neighbour) in 1000 small steps, each of which bfloat16 would round away."""
    param = torch.ones(1, dtype=torch.bfloat16)
    ema = EMA([param], decay=0.999, warmup=False)
    param.fill_(1.0078125)
    for _ in range(1000):
        ema.update()
    assert ema.shadow[0].item() == pytest.approx(1 + 0.0078125 * (1 - 0.999**1000), abs=1e-5)
    with ema.swap():
        assert param.dtype is torch.bfloat16
    assert param.item() == 1.0078125


@pytest.mark.parametrize("decay", [-0.1, 1.5, float("nan")])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(GradusError, match="decay"):
        EMA([torch.zeros(1)], decay=decay)


def test_running_statistics_are_averaged_with_the_weights_they_belong_to() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    update = Updater(network, sgd(lr=0.5), ema=0.9)
    assert update.ema is not None
    norm = network[1]
    expected = [norm.running_mean.clone(), norm.running_var.clone()]
    dice = torch.Generator().manual_seed(0)
    for t in range(30):
        update(network(torch.randn(16, 3, generator=dice) + t).square().mean())
        decay = min(0.9, (1 + t) / (10 + t))
        for mean, now in zip(expected, (norm.running_mean, norm.running_var), strict=True):
            mean.mul_(decay).add_((1 - decay) * now)
    raw = norm.running_mean.clone()
    with update.ema.swap():
        torch.testing.assert_close(norm.running_mean, expected[0])
        torch.testing.assert_close(norm.running_var, expected[1])
        assert not torch.allclose(norm.running_mean, raw)
    assert torch.equal(norm.running_mean, raw)
