"""Update rules: plain functions over (parameters, gradients, state), applied to whole lists of tensors at once.

    θ_{t+1} = θ_t + Δ(g_t, s_t; η_t),    s_{t+1} = S(g_t, s_t)

A rule names its state tensors (`slots`) and gives one function that steps a `Part`: tensors that share a device, a
dtype and a step count, so that bias corrections are scalars. It is written with `torch._foreach_*`; a second function
may call one of torch's fused kernels, which is used wherever a probe shows that it runs and the memory layouts allow
it. A fused kernel walks raw memory: gradients are brought into their parameter's layout first, and a state in another
layout takes the foreach path.

Step counts are Python integers, one a parameter, so a step never waits for the device, and a parameter without a
gradient keeps its own time. Nothing here imports `torch.optim`: its first optimiser imports dynamo (seconds).

References:
    Bradbury et al. 2018, JAX, and DeepMind 2020, Optax: rules as pure transformations of (gradients, state).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradus import canon
from gradus.errors import GradusError
from gradus.optim.settings import accept

__all__ = ["Before", "Bound", "Part", "Rule", "State", "Tensors", "filled", "make", "restore", "zeros"]

State = dict[str, Any]
Tensors = list[Tensor] | tuple[Tensor, ...]
# What replaces the gradients first: a function of the parameters, their gradients and the steps each has made.
Before = Callable[[Sequence[Tensor], Sequence[Tensor | None], Sequence[int]], Sequence[Tensor | None]]


class Part(NamedTuple):
    """What one call of a rule's function steps: tensors of one device, one dtype and one step count.

    Attributes:
        params: θ, changed in place.
        grads: g, in the layouts of the parameters; never changed.
        slots: the state tensors by slot name, changed in place.
        step: t, counting this step, so the first one is 1.
        lr: η, already scheduled.
        weight_decay: λ.
    """

    params: list[Tensor]
    grads: Tensors
    slots: dict[str, list[Tensor]]
    step: int
    lr: float
    weight_decay: float


def zeros(param: Tensor) -> Tensor:
    """Return zeros with the parameter's shape, dtype, device and strides: what most slots start from."""
    return torch.zeros_like(param, memory_format=torch.preserve_format)


def filled(param: Tensor, value: float) -> Tensor:
    """Return a tensor of one value with the parameter's shape, dtype, device and strides."""
    return torch.full_like(param, value, memory_format=torch.preserve_format)


@dataclass(frozen=True, eq=False, repr=False)
class Rule:
    """An update rule: state by `init`, one step by `update`; holds settings and functions, never tensors.

    Attributes:
        name: what users type.
        lr: η before any schedule.
        weight_decay: λ where `update` is given none.
        slots: initial value of each state tensor, as a function of its parameter.
        step: steps a part with foreach operations; it may get a part in pieces, unless the rule is `joint`.
        fused_step: the same step by a fused kernel of torch, where there is one.
        fused: True insists on the kernel, False avoids it, None takes it where it can.
        settings: everything else, shown by `repr`.
        before: gives the gradients to step with in place of those that came (noise, for one).
        joint: whether parameters that step together share something, so that who is there matters to each.
    """

    name: str
    lr: float
    weight_decay: float
    slots: Mapping[str, Callable[[Tensor], Tensor]]
    step: Callable[[Part], None]
    fused_step: Callable[[Part], None] | None = None
    fused: bool | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    before: Before | None = None
    joint: bool = False

    def __post_init__(self) -> None:
        if self.fused and self.fused_step is None:
            raise GradusError(f"optimizer {self.name!r} has no fused kernel; leave fused out")

    def __repr__(self) -> str:
        shown = {"lr": self.lr, "weight_decay": self.weight_decay, **self.settings}
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in shown.items())})"

    def init(self, params: Sequence[Tensor]) -> State:
        """Return fresh state for `params`: a step count each, and every slot in the parameter's own strides.

        Raises:
            GradusError: for parameters that are not real floating point.
        """
        for param in params:
            if not param.is_floating_point():
                raise GradusError(
                    f"optimizer {self.name!r} steps real floating-point parameters, not {param.dtype}; "
                    "leave it out or use torch.view_as_real"
                )
        state: State = {"step": [0] * len(params)}
        with torch.no_grad():
            state.update({name: [start(param) for param in params] for name, start in self.slots.items()})
        return state

    def update(
        self,
        params: Sequence[Tensor],
        grads: Sequence[Tensor | None],
        state: State,
        lr: float,
        weight_decay: float | None = None,
    ) -> None:
        """Step `params` and `state` in place; a parameter whose gradient is None is left as it is, with its state.

        Args:
            params: the list that `init` was given.
            grads: as long as `params`; never changed.
            state: from `init`, or restored into it.
            lr: η at this step.
            weight_decay: λ, by default the rule's own.

        Raises:
            GradusError: for sparse gradients, shapes that differ, or `fused=True` where no kernel fits.
        """
        decay = self.weight_decay if weight_decay is None else weight_decay
        steps: list[int] = list(state["step"])
        with torch.no_grad():
            parts = self._partition(params, grads, steps)
            if self.before is not None:
                grads = self.before(params, grads, steps)
            for members in parts:
                whole = len(members) == len(params)
                some = list(params) if whole else [params[i] for i in members]
                slots = {key: list(state[key]) if whole else [state[key][i] for i in members] for key in self.slots}
                present = [grad for grad in (grads if whole else (grads[i] for i in members)) if grad is not None]
                if hasattr(some[0], "device_mesh"):
                    some, present, slots = _shards(some, present, slots)
                time = steps[members[0]] + 1
                self._apply(Part(some, _align(some, present), slots, time, lr, decay))
                for i in members:
                    steps[i] = time
        state["step"] = steps

    def _partition(
        self, params: Sequence[Tensor], grads: Sequence[Tensor | None], steps: Sequence[int]
    ) -> list[list[int]]:
        """Return the indices with a gradient, gathered by device, dtype and step count."""
        groups: dict[tuple[type, torch.device, torch.dtype, int], list[int]] = {}
        for i, (param, grad, step) in enumerate(zip(params, grads, steps, strict=True)):
            if grad is None:
                continue
            if grad.layout is not torch.strided:
                raise GradusError(f"optimizer {self.name!r} takes dense gradients; use an embedding with sparse=False")
            if grad.shape != param.shape:
                raise GradusError(
                    f"optimizer {self.name!r}: gradient {i} has shape {tuple(grad.shape)}, its parameter "
                    f"{tuple(param.shape)}; pass gradients in the order of the parameters"
                )
            groups.setdefault((type(param), param.device, param.dtype, step), []).append(i)
        return list(groups.values())

    def takes_kernel(self, part: Part) -> bool:
        """Say whether a fused kernel of torch may step a part: there is one, it runs there, the memory allows it."""
        if self.fused is False or self.fused_step is None or hasattr(part.params[0], "device_mesh"):
            return False
        first = part.params[0]
        runs = _runs(self.name, self.fused_step, tuple(self.slots), first.device, first.dtype)
        return runs and _same_memory(part)

    def _apply(self, part: Part) -> None:
        if self.fused is not False and self.fused_step is not None:
            if self.takes_kernel(part):
                self.fused_step(part)
                return
            first = part.params[0]
            if self.fused:
                raise GradusError(
                    f"optimizer {self.name!r} cannot run fused on {first.device.type} in {first.dtype} with these "
                    "memory layouts; leave fused out"
                )
        for piece in [part] if self.joint else _pieces(part):
            self.step(piece)


class Bound:
    """A rule with one list of parameters and its state: what stays the same from step to step is looked up once.

    Where one fused kernel serves the whole list, a step checks the memory layouts and calls it; else it is `update`.

    Args:
        rule: what steps.
        params: the list that `state` belongs to.
        state: from `rule.init`, or restored into it.
    """

    def __init__(self, rule: Rule, params: Sequence[Tensor], state: State) -> None:
        self.rule, self.params, self.state = rule, list(params), state
        self._slots = {key: state[key] for key in rule.slots}
        self._strides = [param.stride() for param in self.params]
        kinds = {(type(param), param.device, param.dtype) for param in self.params}
        part = Part(self.params, self.params, self._slots, 1, 0.0, 0.0)
        alone = len(kinds) == 1 and rule.before is None
        self._fused = rule.fused_step if alone and rule.takes_kernel(part) else None

    def step(self, grads: Sequence[Tensor | None], lr: float, weight_decay: float | None = None) -> None:
        """Step the parameters, under `torch.no_grad()`; arguments as those of `Rule.update`."""
        steps: list[int] = self.state["step"]
        if self._fused is None or steps.count(steps[0]) != len(steps) or not self._fits(grads):
            self.rule.update(self.params, grads, self.state, lr, weight_decay)
            return
        decay = self.rule.weight_decay if weight_decay is None else weight_decay
        self._fused(Part(self.params, grads, self._slots, steps[0] + 1, lr, decay))  # type: ignore[arg-type]
        self.state["step"] = [steps[0] + 1] * len(steps)

    def _fits(self, grads: Sequence[Tensor | None]) -> bool:
        """Say whether every gradient is there, dense, and walks memory as its parameter still does."""
        try:
            return self._strides == list(map(Tensor.stride, self.params)) == list(map(Tensor.stride, grads))  # type: ignore[arg-type]
        except (TypeError, RuntimeError):  # one is None, or sparse
            return False


def _shards(
    params: Sequence[Any], grads: Sequence[Any], slots: dict[str, list[Any]]
) -> tuple[list[Tensor], list[Tensor], dict[str, list[Tensor]]]:
    """Return this rank's parts of sharded tensors: rules act element by element, so shards step on their own."""
    placed = [grad.redistribute(placements=param.placements) for param, grad in zip(params, grads, strict=True)]
    # A slot that is one number a parameter is not sharded.
    local = {key: [t.to_local() if hasattr(t, "device_mesh") else t for t in own] for key, own in slots.items()}
    return [param.to_local() for param in params], [grad.to_local() for grad in placed], local


def _align(params: list[Tensor], grads: list[Tensor]) -> list[Tensor]:
    """Return the gradients in their parameters' strides and dtype, copied only where they differ."""
    return [
        grad
        if grad.stride() == param.stride() and grad.dtype is param.dtype
        else torch.empty_like(param, memory_format=torch.preserve_format).copy_(grad)
        for param, grad in zip(params, grads, strict=True)
    ]


def _pieces(part: Part, size: int = 2**20) -> Iterator[Part]:
    """Yield a part piece by piece, of about as many numbers each, where it is on the CPU and larger.

    What the foreach operations allocate on the way is then used again by the next piece while it is in the cache; for
    ten million parameters at once, new memory for each intermediate costs more than the arithmetic.
    """
    bounds, filled = [0], 0
    if part.params[0].device.type == "cpu":
        for i, param in enumerate(part.params):
            filled += param.numel()
            if filled >= size:
                bounds, filled = [*bounds, i + 1], 0
    if len(bounds) == 1:
        yield part
        return
    if bounds[-1] < len(part.params):
        bounds.append(len(part.params))
    for start, end in pairwise(bounds):
        slots = {key: tensors[start:end] for key, tensors in part.slots.items()}
        yield part._replace(params=part.params[start:end], grads=part.grads[start:end], slots=slots)


def _same_memory(part: Part) -> bool:
    """Say whether walking the raw memory of the lists in step is right: dense, with the same strides throughout.

    Aligned gradients of dense parameters have their strides already.
    """
    for param in part.params:
        if not (param.is_contiguous() or (param.dim() == 4 and param.is_contiguous(memory_format=torch.channels_last))):
            return False
    layouts = [(param.stride(), param.numel()) for param in part.params]
    return all([(tensor.stride(), tensor.numel()) for tensor in tensors] == layouts for tensors in part.slots.values())


_KERNELS: dict[tuple[str, tuple[str, ...], str, torch.dtype], bool] = {}


def _runs(
    name: str,
    fused_step: Callable[[Part], None],
    slots: tuple[str, ...],
    device: torch.device,
    dtype: torch.dtype,
) -> bool:
    """Say whether the fused kernel runs here, by stepping two numbers once in a process."""
    key = (name, slots, device.type, dtype)
    if key not in _KERNELS:
        probe = [torch.ones(2, device=device, dtype=dtype) for _ in range(2 + len(slots))]
        part = Part([probe[0]], [probe[1]], {slot: [probe[2 + i]] for i, slot in enumerate(slots)}, 1, 0.1, 0.0)
        try:
            fused_step(part)
        except (AttributeError, NotImplementedError, RuntimeError):
            _KERNELS[key] = False
        else:
            _KERNELS[key] = True
    return _KERNELS[key]


def restore(live: Any, saved: Any) -> Any:
    """Return `saved` in the shape of `live`, its tensors copied into the live ones so that strides and addresses stay.

    Args:
        live: state of the object that is to go on.
        saved: what was written, of the same structure; its tensors may have any strides.

    Raises:
        GradusError: where the structures or shapes differ.
    """
    if isinstance(live, Tensor):
        if not isinstance(saved, Tensor) or saved.shape != live.shape:
            raise GradusError(
                f"this state holds {_shape(saved)} where a tensor of shape {tuple(live.shape)} belongs; "
                "load the state of the same model and optimizer"
            )
        with torch.no_grad():
            return live.copy_(saved)
    if isinstance(live, dict):
        if not isinstance(saved, dict) or live.keys() != saved.keys():
            raise GradusError(f"this state does not hold {sorted(map(str, live))}; load one of the same optimizer")
        for key in live:
            live[key] = restore(live[key], saved[key])
        return live
    if isinstance(live, list):
        if not isinstance(saved, list) or len(live) != len(saved):
            raise GradusError(f"this state does not hold {len(live)} parameters; load one of the same model")
        live[:] = [restore(mine, theirs) for mine, theirs in zip(live, saved, strict=True)]
        return live
    return saved


def _shape(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def make(name: str, **settings: Any) -> Rule:
    """Return the rule that a user's name means, `settings` checked against the registry.

    Raises:
        GradusError: for an unknown name or setting, with the nearest known one.
    """
    entry = canon.lookup("optimizer", name)
    accept(entry, settings)
    return canon.load(entry)(**settings)
