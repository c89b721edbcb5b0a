"""The contract of activations: a pure function whose written derivative is the true one, finite at any input.

`check_activation` needs no test framework; it raises an AssertionError that says what was broken.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from gradus.nn.activations import Activation
from gradus.testing.differences import central_differences

__all__ = ["check_activation"]

HUGE = 1e4


def check_activation(make: Callable[[], Activation]) -> None:
    """Assert the contract of an activation.

    It keeps shape and dtype, whatever the memory format, and changes neither its input nor the random state; its
    pullback, and the derivative behind it, are those of central differences and of autograd; values, derivatives and
    gradients stay finite at ±10⁴; it has nothing to learn, and its `repr` tells its settings.

    Args:
        make: gives the activation.

    Raises:
        AssertionError: naming what was broken.
    """
    for check in (_is_pure, _derivative_is_true, _is_stable, _says_what_it_is):
        check(make())


def _points(shape: tuple[int, ...] = (6, 5)) -> Tensor:
    """Return inputs on both sides of zero, none nearer to it than a difference's step can tell a kink."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return 2 * x + 0.01 * x.sign()


def _is_pure(f: Activation) -> None:
    dice = torch.get_rng_state()
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        x = _points((2, 3, 4, 5)).to(dtype)
        before = x.clone()
        y = f(x)
        assert (y.shape, y.dtype) == (x.shape, dtype), (
            f"{dtype} of {tuple(x.shape)} became {y.dtype} of {tuple(y.shape)}"
        )
        assert torch.equal(x, before), "the input was changed"
        assert torch.equal(y, f(x)), "asking twice gives two values"
        assert f.derivative(x).dtype == dtype, f"the derivative of {dtype} is another type"
        last = x.contiguous(memory_format=torch.channels_last)
        rounding = 1e-2 if dtype == torch.bfloat16 else 1e-6
        assert torch.allclose(f(last), y, rtol=rounding, atol=rounding), "the memory format changes values"
    assert torch.equal(torch.get_rng_state(), dice), "the global random state was used"


def _gradient(f: Activation, x: Tensor, sent: Tensor) -> Tensor:
    leaf = x.detach().clone().requires_grad_()
    return torch.autograd.grad((f(leaf) * sent).sum(), leaf)[0]


def _derivative_is_true(f: Activation) -> None:
    x = _points()
    sent = torch.randn(x.shape, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    found = f.pullback(x, sent)
    assert torch.allclose(found, central_differences(lambda x: (f(x) * sent).sum(), x), rtol=1e-6, atol=1e-8), (
        "the pullback is not that of central differences"
    )
    assert torch.allclose(found, _gradient(f, x, sent), rtol=1e-9, atol=1e-12), "the pullback is not autograd's"
    derivative = f.derivative(x)
    applied = sent * derivative if derivative.shape == x.shape else (derivative.mT @ sent[..., None])[..., 0]
    assert torch.allclose(applied, found, rtol=1e-9, atol=1e-12), "the derivative is not the pullback's"


def _is_stable(f: Activation) -> None:
    for dtype in (torch.float32, torch.float64):
        x = HUGE * _points().sign().to(dtype)
        x[0] = 0.0
        for what, values in (
            ("value", f(x)),
            ("derivative", f.derivative(x)),
            ("gradient", _gradient(f, x, torch.ones_like(x))),
        ):
            assert bool(values.isfinite().all()), f"a {what} at ±{HUGE:g} is not finite in {dtype}"


def _says_what_it_is(f: Activation) -> None:
    assert not list(f.parameters()), "an activation has nothing to learn"
    assert repr(f).startswith(type(f).__name__), f"{f!r} does not say its name"
    hidden = [name for name in vars(f) if not name.startswith("_") and name != "training" and name not in repr(f)]
    assert not hidden, f"{f!r} does not tell {hidden[0]}"
