"""The contract of an update rule, as checks that need no test framework: an AssertionError says what broke.

A rule passes when it descends, rests where there is nothing to do, keeps all it knows in a plain state that restores
bit for bit into live tensors, treats memory layouts as invisible, and gives each parameter its own time. Noise that it
adds to the gradients is left out where rest is asked for, and where parameters share something by the rule's own word,
what one does may depend on which others are there.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gradus.errors import GradusError
from gradus.optim.rule import Rule, State, restore

__all__ = ["check_optimizer"]

MakeRule = Callable[[], Rule]
SHAPES = ((), (5,), (4, 3), (8, 4, 3, 3), (6, 1, 3, 3), (3, 2, 1, 1))


def check_optimizer(make_rule: MakeRule, *, device: str | torch.device = "cpu") -> None:
    """Run the whole contract on a rule, with its fused kernel where it has one and with foreach operations.

    Args:
        make_rule: gives the rule anew; called several times.
        device: where to check.

    Raises:
        AssertionError: for the first clause that fails.
    """
    device = torch.device(device)
    _fused_is_foreach(make_rule, device)
    for make in (make_rule, lambda: replace(make_rule(), fused=False)):
        for check in CHECKS:
            check(make, device)


def _tensors(seed: int, device: torch.device, dtype: torch.dtype, channels_last: bool = True) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype) for shape in SHAPES]
    return [t.contiguous(memory_format=torch.channels_last) if channels_last and t.dim() == 4 else t for t in made]


def _params(device: torch.device, dtype: torch.dtype = torch.float32, channels_last: bool = True) -> list[Tensor]:
    return [param.requires_grad_() for param in _tensors(0, device, dtype, channels_last)]


def _walk(rule: Rule, params: list[Tensor], state: State, start: int, steps: int) -> None:
    """Step with gradients that are a function of the step alone."""
    for t in range(start, start + steps):
        grads = _tensors(100 + t, params[0].device, params[0].dtype)
        rule.update(params, grads, state, rule.lr, 0.01)


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone(memory_format=torch.preserve_format) for tensor in tensors]


def _same(left: Sequence[Tensor], right: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def _close(left: Sequence[Tensor], right: Sequence[Tensor], tolerance: float) -> bool:
    return all(torch.allclose(a, b, rtol=tolerance, atol=tolerance) for a, b in zip(left, right, strict=True))


def _state_tensors(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    children = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return [tensor for child in children for tensor in _state_tensors(child)]


def _state_is_plain(make: MakeRule, device: torch.device) -> None:
    params = _params(device)
    rule = make()
    state = rule.init(params)
    _walk(rule, params, state, 0, 1)
    try:
        json.dumps(_written(state, []))
    except TypeError as error:
        raise AssertionError(
            f"{rule.name}: its state holds more than tensors, numbers, lists and dicts: {error}"
        ) from error
    for slot in rule.slots:
        for param, tensor in zip(params, state[slot], strict=True):
            assert not tensor.requires_grad, f"{rule.name}: {slot} is recorded by autograd"
            assert tensor.shape != param.shape or tensor.stride() == param.stride(), (
                f"{rule.name}: {slot} has strides {tensor.stride()}, its parameter {param.stride()}; "
                "make it with torch.zeros_like(param, memory_format=torch.preserve_format)"
            )


def _written(state: Any, tensors: list[Tensor]) -> Any:
    """Return what a checkpoint would write as JSON; tensors go to the list, contiguous as on disk."""
    if isinstance(state, Tensor):
        tensors.append(state.detach().clone(memory_format=torch.contiguous_format))
        return {"tensor": len(tensors) - 1}
    if isinstance(state, dict):
        return {key: _written(value, tensors) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [_written(value, tensors) for value in state]
    return state


def _read(written: Any, tensors: list[Tensor]) -> Any:
    if isinstance(written, dict):
        if written.keys() == {"tensor"}:
            return tensors[written["tensor"]]
        return {key: _read(value, tensors) for key, value in written.items()}
    return [_read(value, tensors) for value in written] if isinstance(written, list) else written


def _descends(make: MakeRule, device: torch.device) -> None:
    """On ½ Σ h (θ − θ*)² with curvatures h in [½, 2]."""
    rule, params = make(), _params(device, torch.float64)
    goal, state = _tensors(1, device, torch.float64), rule.init(params)
    curvature = [0.5 + 1.5 * torch.rand_like(g) for g in _tensors(2, device, torch.float64)]

    def loss() -> float:
        return sum(float((h * (p - g) ** 2).sum()) / 2 for h, p, g in zip(curvature, params, goal, strict=True))

    with torch.no_grad():
        before = loss()
        for _ in range(300):
            grads = [h * (p - g) for h, p, g in zip(curvature, params, goal, strict=True)]
            rule.update(params, grads, state, rule.lr, 0.0)
        after = loss()
    assert after < 0.9 * before, (
        f"{rule.name}: 300 steps on a convex quadratic took the loss from {before:g} to {after:g}"
    )


def _rests_without_gradient(make: MakeRule, device: torch.device) -> None:
    rule, params = replace(make(), before=None), _params(device)
    before, zero = _copies(params), [torch.zeros_like(param) for param in params]
    rule.update(params, zero, rule.init(params), rule.lr, 0.0)
    assert _same(params, before), f"{rule.name}: a zero gradient without decay moved the parameters"


def _decays(make: MakeRule, device: torch.device) -> None:
    rule, params = replace(make(), before=None), _params(device)
    before, zero = _copies(params), [torch.zeros_like(param) for param in params]
    rule.update(params, zero, rule.init(params), min(rule.lr, 1e-3), 0.1)
    shrunk = [float(p.detach().norm()) < float(b.norm()) for p, b in zip(params, before, strict=True)]
    assert all(shrunk), f"{rule.name}: weight_decay=0.1 with a zero gradient did not shrink the parameters"


def _obeys_lr(make: MakeRule, device: torch.device) -> None:
    rule, params = make(), _params(device)
    before, state = _copies(params), rule.init(params)
    for t in range(2):
        rule.update(params, _tensors(100 + t, device, torch.float32), state, 0.0, 0.01)
    assert _same(params, before), f"{rule.name}: lr=0 moved the parameters"
    rule.update(params, _tensors(102, device, torch.float32), state, rule.lr, 0.0)
    assert not _same(params, before), f"{rule.name}: a step with lr={rule.lr} moved nothing"


def _leaves_gradients(make: MakeRule, device: torch.device) -> None:
    rule, params = make(), _params(device)
    grads = _tensors(100, device, torch.float32)
    before, listed, state = _copies(grads), list(grads), rule.init(params)
    for _ in range(2):
        rule.update(params, grads, state, rule.lr, 0.1)
    assert all(a is b for a, b in zip(grads, listed, strict=True)), f"{rule.name}: the caller's list was changed"
    assert _same(grads, before), f"{rule.name}: the gradients were changed in place"


def _keeps_memory(make: MakeRule, device: torch.device) -> None:
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        rule, params = make(), _params(device, dtype)
        state = rule.init(params)
        held = [(t.data_ptr(), t.stride(), t.dtype) for t in [*params, *_state_tensors(state)]]
        _walk(rule, params, state, 0, 2)
        now = [(t.data_ptr(), t.stride(), t.dtype) for t in [*params, *_state_tensors(state)]]
        assert held == now, f"{rule.name}: addresses, strides or dtypes changed in {dtype}"
        assert all(param.is_leaf and param.isfinite().all() for param in params), f"{rule.name}: not finite in {dtype}"


def _is_deterministic(make: MakeRule, device: torch.device) -> None:
    ends = []
    for _ in range(2):
        rule, params = make(), _params(device)
        _walk(rule, params, rule.init(params), 0, 4)
        ends.append(_copies(params))
    assert _same(*ends), f"{make().name}: two walks with the same gradients ended apart"


def _resumes_exactly(make: MakeRule, device: torch.device) -> None:
    for dtype in (torch.float32, torch.float64):
        rule, params = make(), _params(device, dtype)
        state = rule.init(params)
        _walk(rule, params, state, 0, 3)
        tensors: list[Tensor] = []
        text, weights = json.dumps(_written(state, tensors)), _copies(params)
        _walk(rule, params, state, 3, 3)

        again = [weight.requires_grad_() for weight in weights]
        rule = make()
        live = rule.init(again)
        _walk(rule, _copies(again), live, 50, 1)  # a state that is not fresh, so that everything must be overwritten
        live = restore(live, _read(json.loads(text), tensors))
        _walk(rule, again, live, 3, 3)
        assert _same(again, params), f"{rule.name}: resumed from its state, the walk in {dtype} ended elsewhere"


def _skips_missing_gradients(make: MakeRule, device: torch.device) -> None:
    """A parameter without a gradient keeps its value, its state and its own time."""
    rule, params, alone = make(), _params(device), _params(device)
    state, own = rule.init(params), rule.init(alone)
    for t in range(6):
        grads: list[Tensor | None] = list(_tensors(100 + t, device, torch.float32))
        if t in (0, 2, 3):
            grads[1] = grads[3] = None
            before = _copies([params[1], params[3]])
        rule.update(params, grads, state, rule.lr, 0.01)
        if t in (0, 2, 3):
            assert _same([params[1], params[3]], before), f"{rule.name}: a parameter without a gradient moved"
        else:
            rule.update(alone, grads, own, rule.lr, 0.01)
    assert rule.joint or _close([params[1], params[3]], [alone[1], alone[3]], 1e-6), (
        f"{rule.name}: steps that a parameter sat out changed its later steps"
    )


def _ignores_layout(make: MakeRule, device: torch.device) -> None:
    """Channels-last or contiguous, in any mixture of weights and gradients, the numbers are the same."""
    ends = []
    for weights_last in (False, True):
        for grads_last in (False, True):
            rule, params = make(), _params(device, torch.float64, weights_last)
            state = rule.init(params)
            for t in range(4):
                grads = _tensors(100 + t, device, torch.float64, grads_last)
                rule.update(params, grads, state, rule.lr, 0.01)
            ends.append(_copies(params))
    assert all(_close(end, ends[0], 1e-12) for end in ends), (
        f"{make().name}: memory layout changed the result; bring gradients into their parameter's strides"
    )


def _steps_views(make: MakeRule, device: torch.device) -> None:
    """Parameters that are not dense: a column of a matrix and a transposed one."""
    ends = []
    for view in (False, True):
        base = torch.randn(6, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(device)
        rule, params = make(), [base[:, 1], base.clone().t()]
        params = params if view else [param.clone(memory_format=torch.contiguous_format) for param in params]
        state = rule.init(params)
        for t in range(3):
            rule.update(params, [torch.cos(param + t) for param in params], state, rule.lr, 0.01)
        ends.append(_copies(params))
    assert _close(ends[0], ends[1], 1e-12), f"{make().name}: a strided view was stepped differently from its copy"


def _refuses(make: MakeRule, device: torch.device) -> None:
    rule, param = make(), torch.zeros(3, 2, device=device)
    state = rule.init([param])
    sparse = torch.ones(3, 2, device=device).to_sparse()
    broken = {
        "a sparse gradient": lambda: rule.update([param], [sparse], state, rule.lr),
        "a gradient of another shape": lambda: rule.update([param], [torch.zeros(2, device=device)], state, rule.lr),
        "a complex parameter": lambda: rule.init([torch.zeros(2, dtype=torch.complex64, device=device)]),
    }
    for what, act in broken.items():
        try:
            act()
        except GradusError:
            continue
        raise AssertionError(f"{rule.name}: {what} was taken without a GradusError")


def _fused_is_foreach(make_rule: MakeRule, device: torch.device) -> None:
    if make_rule().fused_step is None:
        return
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        ends = []
        for fused in (None, False):
            rule, params = replace(make_rule(), fused=fused), _params(device, dtype)
            _walk(rule, params, rule.init(params), 0, 20)
            ends.append(_copies(params))
        assert _close(ends[0], ends[1], tolerance), (
            f"{make_rule().name}: the fused kernel and the foreach step differ in {dtype}"
        )


CHECKS = (
    _state_is_plain,
    _rests_without_gradient,
    _decays,
    _obeys_lr,
    _leaves_gradients,
    _keeps_memory,
    _is_deterministic,
    _resumes_exactly,
    _skips_missing_gradients,
    _ignores_layout,
    _steps_views,
    _refuses,
    _descends,
)
