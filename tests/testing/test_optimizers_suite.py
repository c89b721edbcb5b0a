"""`check_optimizer` passes every registered rule, and rejects each of a family of planted bugs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gradus import canon
from gradus.optim.adam import adam, adamw
from gradus.optim.rmsprop import rmsprop
from gradus.optim.rule import Part, Rule, State, make
from gradus.optim.sgd import momentum, nesterov, sgd
from gradus.testing.optimizers import check_optimizer

EXAMPLES: dict[str, Callable[[], Rule]] = {
    **{name: (lambda name=name: make(name)) for name in canon.names("optimizer")},
    "amsgrad": lambda: adam(amsgrad=True),
    "dampened": lambda: sgd(momentum=0.9, dampening=0.5),
    "centred with momentum": lambda: rmsprop(centered=True, momentum=0.9),
    "fused on demand": lambda: nesterov(fused=None),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_registered_rule_keeps_the_contract(name: str) -> None:
    check_optimizer(EXAMPLES[name])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_registered_rule_keeps_the_contract_on_a_gpu(name: str) -> None:
    check_optimizer(EXAMPLES[name], device="cuda")


def _with_step(change: Callable[[Part, Callable[[Part], None]], None]) -> Callable[[], Rule]:
    """Return a maker of momentum descent whose foreach step is wrapped."""

    def make_rule() -> Rule:
        rule = momentum(lr=0.05)
        return replace(rule, name="twin", fused_step=None, step=lambda part: change(part, rule.step))

    return make_rule


def _forgets_lr(part: Part, step: Callable[[Part], None]) -> None:
    step(part._replace(lr=0.05))


def _ascends(part: Part, step: Callable[[Part], None]) -> None:
    step(part._replace(lr=-part.lr))


def _forgets_decay(part: Part, step: Callable[[Part], None]) -> None:
    step(part._replace(weight_decay=0.0))


def _grows_decay(part: Part, step: Callable[[Part], None]) -> None:
    step(part._replace(weight_decay=-part.weight_decay))


def _writes_gradients(part: Part, step: Callable[[Part], None]) -> None:
    torch._foreach_add_(part.grads, part.params, alpha=part.weight_decay)
    step(part._replace(weight_decay=0.0))


def _drifts(part: Part, step: Callable[[Part], None]) -> None:
    step(part)
    torch._foreach_add_(part.params, part.lr * 1e-3)


def _rolls_dice(part: Part, step: Callable[[Part], None]) -> None:
    step(part._replace(grads=[grad + 1e-3 * torch.randn_like(grad) * grad.abs() for grad in part.grads]))


def _swaps_memory(part: Part, step: Callable[[Part], None]) -> None:
    step(part)
    for param in part.params:
        param.data = param.data.clone(memory_format=torch.preserve_format)


def _reads_raw_memory(part: Part, step: Callable[[Part], None]) -> None:
    """What a fused kernel does to tensors whose strides differ."""
    for param in part.params:
        if param.dim() == 4:
            param.add_(param.mean(dim=tuple(range(param.dim()))) * 1e-3 * param.stride(1))
    step(part)


def _remembers_in_secret() -> Rule:
    rule, seen = momentum(lr=0.05), [0]

    def step(part: Part) -> None:
        seen[0] += 1
        rule.step(part._replace(lr=part.lr / seen[0] ** 0.5))

    return replace(rule, name="twin", fused_step=None, step=step)


def _state_is_contiguous() -> Rule:
    slots = {"momentum_buffer": lambda param: torch.zeros(param.shape, dtype=param.dtype, device=param.device)}
    return replace(momentum(lr=0.05), name="twin", fused_step=None, slots=slots)


def _state_is_single() -> Rule:
    """Half-precision parameters get a state that changes its dtype on the way."""
    rule = momentum(lr=0.05)

    def step(part: Part) -> None:
        rule.step(part)
        for velocity in part.slots["momentum_buffer"]:
            velocity.data = velocity.data.float()

    return replace(rule, name="twin", fused_step=None, step=step)


def _kernel_has_other_betas() -> Rule:
    return replace(adamw(), name="twin", fused_step=adamw(betas=(0.9, 0.99)).fused_step)


def _kernel_forgets_decay() -> Rule:
    rule = adamw()
    kernel = rule.fused_step
    assert kernel is not None
    return replace(rule, name="twin", fused_step=lambda part: kernel(part._replace(weight_decay=0.0)))


class Unwritable(Rule):
    """Keeps something in its state that no checkpoint can hold."""

    def init(self, params: Sequence[Tensor]) -> State:
        return super().init(params) | {"seen": {1, 2}}


class SharedTime(Rule):
    """One step count for all: a parameter that sat out a step is as old as the others."""

    def update(
        self,
        params: Sequence[Tensor],
        grads: Sequence[Tensor | None],
        state: State,
        lr: float,
        weight_decay: float | None = None,
    ) -> None:
        super().update(params, grads, state, lr, weight_decay)
        state["step"] = [max(state["step"])] * len(params)


class ZeroForNone(Rule):
    """A missing gradient is taken for zero, so the velocity carries on."""

    def update(
        self,
        params: Sequence[Tensor],
        grads: Sequence[Tensor | None],
        state: State,
        lr: float,
        weight_decay: float | None = None,
    ) -> None:
        filled = [torch.zeros_like(p) if g is None else g for p, g in zip(params, grads, strict=True)]
        super().update(params, filled, state, lr, weight_decay)


class Trusting(Rule):
    """Hands the kernel whatever strides come, and takes any gradient."""

    def update(
        self,
        params: Sequence[Tensor],
        grads: Sequence[Tensor | None],
        state: State,
        lr: float,
        weight_decay: float | None = None,
    ) -> None:
        there = [i for i, grad in enumerate(grads) if grad is not None and not grad.is_sparse]
        with torch.no_grad():
            for i in there:
                slots = {key: [state[key][i]] for key in self.slots}
                step = self.step if self.fused is False or self.fused_step is None else self.fused_step
                step(Part([params[i]], [grads[i]], slots, state["step"][i] + 1, lr, weight_decay or 0.0))
                state["step"][i] += 1


def _recast(cls: type[Rule], rule: Rule) -> Rule:
    fields: dict[str, Any] = {name: getattr(rule, name) for name in rule.__dataclass_fields__}
    return cls(**fields)


TWINS: dict[str, tuple[Callable[[], Rule], str]] = {
    "forgets the learning rate": (_with_step(_forgets_lr), "lr=0 moved"),
    "ascends": (_with_step(_ascends), "did not shrink|convex quadratic"),
    "forgets the decay": (_with_step(_forgets_decay), "did not shrink"),
    "grows by the decay": (_with_step(_grows_decay), "did not shrink"),
    "writes into the gradients": (_with_step(_writes_gradients), "gradients were changed"),
    "drifts": (_with_step(_drifts), "zero gradient without decay moved"),
    "rolls dice": (_with_step(_rolls_dice), "ended apart"),
    "swaps memory": (_with_step(_swaps_memory), "addresses, strides or dtypes"),
    "depends on strides": (_with_step(_reads_raw_memory), "memory layout|zero gradient"),
    "remembers in secret": (_remembers_in_secret, "resumed from its state"),
    "holds what JSON cannot": (lambda: _recast(Unwritable, momentum()), "holds more than"),
    "state is contiguous": (_state_is_contiguous, "strides"),
    "state changes dtype": (_state_is_single, "addresses, strides or dtypes"),
    "kernel has other betas": (_kernel_has_other_betas, "fused kernel and the foreach step differ"),
    "kernel forgets the decay": (_kernel_forgets_decay, "fused kernel and the foreach step differ"),
    "one time for all": (lambda: _recast(SharedTime, adam()), "sat out changed"),
    "zero for a missing gradient": (lambda: _recast(ZeroForNone, momentum()), "without a gradient moved"),
    "walks raw memory": (lambda: _recast(Trusting, adam()), "memory layout"),
    "takes sparse gradients": (lambda: _recast(Trusting, adam(fused=False)), "without a GradusError"),
}


@pytest.mark.parametrize("bug", TWINS)
def test_planted_bugs_are_rejected(bug: str) -> None:
    make_rule, said = TWINS[bug]
    with pytest.raises(AssertionError, match=said):
        check_optimizer(make_rule)
