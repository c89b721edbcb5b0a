"""The contract of explainers: what every registered one keeps, on a small convolutional network.

`check_explainer` needs no test framework; it raises an AssertionError that says what was broken.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gradus.errors import GradusError

__all__ = ["SmallNet", "check_explainer", "refuses", "untouched"]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class SmallNet(nn.Module):
    """Two smooth convolutions and a linear layer on 8 × 8 images of two channels; weights are a function of the seed.

    It carries everything an explainer or attack might disturb: gradients, a module in training mode, a frozen
    parameter, buffers.
    """

    def __init__(self, seed: int = 0, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        # Layers draw their first weights from the global generator unless the initialisation is skipped.
        first = nn.utils.skip_init(nn.Conv2d, 2, 5, 3, padding=1, dtype=dtype)
        second = nn.utils.skip_init(nn.Conv2d, 5, 4, 3, padding=1, stride=2, dtype=dtype)
        last = nn.utils.skip_init(nn.Linear, 4 * 4 * 4, 3, dtype=dtype)
        self.feature_map = nn.Sequential(first, nn.Softplus(), nn.BatchNorm2d(5, dtype=dtype), second, nn.Tanh())
        self.head = nn.Sequential(nn.Flatten(), last)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(0, 0.5, generator=generator)
                parameter.grad = torch.ones_like(parameter)
        self.eval()
        self.head.train()
        self.head[1].bias.requires_grad_(False)

    def forward(self, x: Float[Tensor, "batch 2 8 8"]) -> Float[Tensor, "batch 3"]:
        """Return logits."""
        return self.head(self.feature_map(x))


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Assert that the block leaves a model and the global random state as it found them, also when it raises."""
    before = _snapshot(model)
    try:
        yield
    finally:
        after = _snapshot(model)
        for what, value in before.items():
            same = _equal(value, after[what])
            assert same, f"the model's or the process's {what} changed"


def _snapshot(model: nn.Module) -> dict[str, list]:
    parameters = list(model.parameters())
    return {
        "weights": [tensor.detach().clone() for tensor in model.state_dict().values()],
        "gradients": [None if parameter.grad is None else parameter.grad.clone() for parameter in parameters],
        "requires_grad flags": [parameter.requires_grad for parameter in parameters],
        "training flags": [module.training for module in model.modules()],
        "hooks": [len(getattr(module, kind)) for module in model.modules() for kind in _HOOKS],
        "grad mode": [torch.is_grad_enabled()],
        "random state": [torch.get_rng_state(), str(np.random.get_state())],  # noqa: NPY002
    }


def _equal(left: list, right: list) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a is b or (a == b) is True
        for a, b in zip(left, right, strict=True)
    )


def refuses(call: Callable[[], object], what: str) -> None:
    """Assert that a call is refused with a GradusError."""
    try:
        call()
    except GradusError:
        return
    raise AssertionError(f"{what} was accepted; a GradusError was due")


def check_explainer(explainer: Callable[..., Tensor], *, dummy: bool | None = None) -> None:
    """Assert the contract of an explainer `(fn, inputs, *, target, [layer]) -> attributions`.

    It keeps shape and dtype; gives finite, detached, repeatable answers; leaves inputs, model and random state alone,
    also when the model raises; explains each row by itself and for its own target; runs whatever the caller's grad
    mode and for frozen parameters; refuses a target that is no class; gives nothing to what the function ignores.

    Args:
        explainer: with settings bound, if it has any without default.
        dummy: whether ignored inputs must get zero; by default unless it takes `layer`, which sees features instead.

    Raises:
        AssertionError: naming what was broken.
    """
    layered = "layer" in inspect.signature(explainer).parameters

    def explain(model: SmallNet, fn: Callable[[Tensor], Tensor], inputs: Tensor, target: int | Tensor) -> Tensor:
        return explainer(fn, inputs, target=target, **({"layer": model.feature_map} if layered else {}))

    _check_answer(explain)
    _check_rows(explain)
    _check_circumstances(explain)
    if not layered if dummy is None else dummy:
        _check_dummy(explain)


Explain = Callable[[SmallNet, Callable[[Tensor], Tensor], Tensor, "int | Tensor"], Tensor]


def _example(dtype: torch.dtype = torch.float64) -> tuple[SmallNet, Float[Tensor, "4 2 8 8"], Int[Tensor, "4"]]:
    inputs = torch.rand(4, 2, 8, 8, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return SmallNet(dtype=dtype), inputs.to(dtype), torch.tensor([0, 1, 2, 1])


def _close(left: Tensor, right: Tensor) -> bool:
    return torch.allclose(left, right, rtol=1e-8, atol=1e-10)


def _check_answer(explain: Explain) -> None:
    for dtype in (torch.float32, torch.float64):
        model, inputs, target = _example(dtype)
        kept = inputs.clone()
        with untouched(model):
            found = explain(model, model, inputs, target)
        allowed = (inputs.shape, (len(inputs), 1, *inputs.shape[2:]))
        assert found.shape in allowed, f"attributions of shape {tuple(found.shape)} for inputs {tuple(inputs.shape)}"
        assert found.dtype == dtype, f"attributions are {found.dtype} for inputs of {dtype}"
        assert bool(found.isfinite().all()), "attributions are not finite"
        assert bool(found.any()), "all attributions are zero"
        assert not found.requires_grad, "attributions still hang on the graph"
        assert torch.equal(inputs, kept), "the inputs were changed"
        assert not inputs.requires_grad, "the inputs were made to require a gradient"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            again = explain(model, model, inputs, target)
        assert torch.equal(found, again), "the same question got two answers"


def _check_rows(explain: Explain) -> None:
    model, inputs, target = _example()
    found = explain(model, model, inputs, target)
    for row in range(len(inputs)):
        alone = explain(model, model, inputs[row : row + 1], target[row : row + 1])
        assert _close(found[row], alone[0]), f"row {row} is explained differently without the others"
        same = explain(model, model, inputs, int(target[row]))
        assert _close(found[row], same[row]), f"row {row} is not explained for its own target"
    moved = explain(model, model, inputs, (target + 1) % 3)
    assert not _close(found, moved), "the target makes no difference"
    for wrong in (3, -1, torch.tensor([0, 1, 2, 3])):
        with untouched(model):
            refuses(partial(explain, model, model, inputs, wrong), f"target {wrong} of 3 classes")


def _check_circumstances(explain: Explain) -> None:
    model, inputs, target = _example()
    found = explain(model, model, inputs, target)
    assert _close(found, explain(model, lambda x: model(x), inputs, target)), "a plain function is explained otherwise"
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert _close(found, explain(model, model, inputs.clone(), target)), f"differs under {mode.__name__}"
    model.requires_grad_(False)
    assert _close(found, explain(model, model, inputs, target)), "a frozen model is explained otherwise"

    def breaks(x: Tensor) -> Tensor:
        model(x)
        raise ZeroDivisionError

    with untouched(model):
        try:
            explain(model, breaks, inputs, target)
        except ZeroDivisionError:
            return
        raise AssertionError("an error inside the function was swallowed")


def _check_dummy(explain: Explain) -> None:
    model, inputs, target = _example()
    seen = torch.ones_like(inputs[:1])
    seen[..., 4:, :] = 0
    found = explain(model, lambda x: model(x * seen), inputs, target)
    assert float(found[..., 4:, :].abs().max()) < 1e-10, "what the function ignores got an attribution"
    assert float(found[..., :4, :].abs().max()) > 1e-6, "what the function sees got none"
