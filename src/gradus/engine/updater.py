"""The one place for backward, accumulation, reduction over ranks, scaling, clipping, the update rule, schedule and EMA.

    g = (1/k) Σ ∇L_i  over k micro-steps, averaged over the ranks
    θ ← rule(θ, clip(g), lr · schedule(t)),   ema ← β ema + (1 − β) θ

An Updater differentiates only its own parameters (`backward(inputs=…)`), so several of them in one learner need no
freezing; one that is `alone` has nothing to leave out. It reduces its gradients itself, so that functional calls and
losses that bypass `forward` stay exact.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gradus.engine.state import State, placed
from gradus.errors import GradusError
from gradus.optim.clip import clip_norm_, clip_value_
from gradus.optim.ema import EMA, running_statistics
from gradus.optim.rule import Bound, Rule
from gradus.optim.rule import restore as rule_restore

__all__ = ["UpdateInfo", "Updater"]

_LIVE: "weakref.WeakSet[Updater]" = weakref.WeakSet()


class UpdateInfo(NamedTuple):
    """What one call of an Updater did.

    Attributes:
        loss: the loss, detached, not divided by the accumulation.
        grad_norm: global norm before clipping; None where no clipping was asked for or nothing was applied.
        skipped: whether the parameters were left alone (accumulating, or an fp16 overflow).
        lr: the learning rate it went by, before group scales.
    """

    loss: Tensor
    grad_norm: Tensor | None
    skipped: bool
    lr: float


class _Group:
    """Parameters that share a learning-rate scale and a weight decay, with the rule's state for them."""

    def __init__(self, params: Iterable[Tensor], lr_scale: float = 1.0, weight_decay: float | None = None) -> None:
        self.params = [p for p in params if p.requires_grad]
        self.lr_scale, self.weight_decay = lr_scale, weight_decay

    def bind(self, rule: Rule, state: State) -> None:
        """Take a state of the rule for these parameters."""
        self.stepper = Bound(rule, self.params, state)

    @property
    def state(self) -> State:
        """The rule's state for these parameters."""
        return self.stepper.state


def _groups(params: nn.Module | Iterable[Any]) -> list[_Group]:
    if isinstance(params, nn.Module):
        return [_Group(params.parameters())]
    items = list(params)
    if items and isinstance(items[0], Mapping):
        return [_Group(**{**item, "params": list(item["params"])}) for item in items]
    return [_Group(items)]


class Updater:
    """Turns losses into parameter updates.

    Args:
        params: a module, its parameters, or groups `{"params": …, "lr_scale": 1.0, "weight_decay": None}`.
        optimizer: an update rule of `gradus.optim`, or any `torch.optim` optimiser over the same parameters.
        schedule: multiplier of the learning rate as a function of the number of updates made.
        clip: largest global gradient norm.
        clip_value: largest absolute gradient entry.
        accumulate: number of calls whose mean gradient makes one update.
        ema: decay of an exponential moving average of the parameters and of `statistics`.
        statistics: what belongs to the averaged parameters without being trained: means and variances that
            normalisation keeps, which hold for the weights of the moment only. A module brings its own.
        scaler: scale the loss dynamically (fp16).
        alone: the losses lead to no other leaf that needs a gradient, so that nobody need ask at every node whether it
            leads to the parameters: a hundredth of a small step. The first loss is looked through, and refused if not.

    Raises:
        GradusError: if there is nothing to train.
    """

    def __init__(
        self,
        params: nn.Module | Iterable[Any],
        optimizer: Rule | torch.optim.Optimizer,
        *,
        schedule: Callable[[int], float] | None = None,
        clip: float | None = None,
        clip_value: float | None = None,
        accumulate: int = 1,
        ema: float | None = None,
        statistics: Iterable[Tensor] | None = None,
        scaler: bool = False,
        alone: bool = False,
    ) -> None:
        if statistics is None:
            statistics = running_statistics(params) if isinstance(params, nn.Module) else ()
        self.groups = _groups(params)
        self.params: list[Tensor] = [p for group in self.groups for p in group.params]
        if not self.params:
            raise GradusError("there is no trainable parameter: unfreeze some, or pass the model's parameters")
        self._kind = self.params[0].device.type  # asked for at every step, it would cost what a small kernel does
        self.rule = optimizer if isinstance(optimizer, Rule) else None
        self.torch_optimizer = None if isinstance(optimizer, Rule) else optimizer
        if self.torch_optimizer is not None:
            self._base_lrs = [group["lr"] for group in self.torch_optimizer.param_groups]
        self._reevaluates = self.torch_optimizer is not None and isinstance(self.torch_optimizer, torch.optim.LBFGS)
        self.schedule, self.clip, self.clip_value, self.accumulate = schedule, clip, clip_value, accumulate
        self.ema = EMA([*self.params, *statistics], decay=ema) if ema else None
        self.scale: Tensor | None = None
        if scaler:
            device = self.params[0].device
            self.scale, self._growth = (
                torch.full((), 2.0**16, device=device),
                torch.zeros((), dtype=torch.int32, device=device),
            )
        self.count, self._micro = 0, 0
        self._alone, self._looked_through = alone, False
        if self.rule is not None:
            for group in self.groups:
                group.bind(self.rule, self.rule.init(group.params))
        self._world = _world_size()
        self._sharded = any(hasattr(p, "device_mesh") for p in self.params)
        _LIVE.add(self)

    def __repr__(self) -> str:
        what = self.rule.name if self.rule is not None else type(self.torch_optimizer).__name__
        return f"Updater({sum(p.numel() for p in self.params):,} parameters, {what}, {self.count} updates)"

    @property
    def lr(self) -> float:
        """The learning rate of the next update, before group scales."""
        base = self.rule.lr if self.rule is not None else self._base_lrs[0]
        return base * (self.schedule(self.count) if self.schedule else 1.0)

    def __call__(self, loss: Tensor | Callable[[], Tensor]) -> UpdateInfo:
        """Differentiate the loss and, at the end of an accumulation, update.

        Args:
            loss: a scalar, or a closure that computes it (which some optimisers call several times).

        Raises:
            GradusError: if the optimiser re-evaluates the loss and a bare loss was given.
        """
        if self._reevaluates:
            if not callable(loss) or isinstance(loss, Tensor):
                raise GradusError(
                    f"{type(self.torch_optimizer).__name__} evaluates the loss several times a step: "
                    "pass a closure, `update(lambda: loss_of(batch))`, instead of the loss"
                )
            return self._closure_step(loss)
        value = loss if isinstance(loss, Tensor) else loss()
        self._backward(value)
        self._micro += 1
        lr = self.lr
        if self._micro < self.accumulate:
            return UpdateInfo(value.detach(), None, True, lr)
        self._micro = 0
        norm, sound = self._finish_gradients()
        if sound:
            self._apply(lr)
        for p in self.params:
            p.grad = None
        return UpdateInfo(value.detach(), norm, not sound, lr)

    def _backward(self, loss: Tensor) -> None:
        if torch.is_autocast_enabled(self._kind):
            # Each operation's backward has its forward's precision; what is evaluated anew (an adjoint) keeps its own.
            with torch.autocast(self._kind, enabled=False):
                self._backward(loss)
            return
        if self.accumulate > 1:
            loss = loss / self.accumulate
        if self.scale is not None:
            loss = loss * self.scale
        if self._sharded:
            _sharded_backward(loss, self)
        elif self._alone:
            if not self._looked_through:
                _require_no_stranger(loss, self.params)
                self._looked_through = True
            loss.backward()
        else:
            loss.backward(inputs=self.params)

    def _finish_gradients(self) -> tuple[Tensor | None, bool]:
        """Average over ranks, unscale and clip; return the norm and whether the gradients are finite (fp16 only)."""
        if self._world == 1 and self.scale is None and self.clip is None and self.clip_value is None:
            return None, True
        grads = [p.grad for p in self.params if p.grad is not None]
        if self._world > 1:
            _average(grads)
        sound = True
        if self.scale is not None:
            overflow = torch.zeros((), device=self.scale.device)
            torch._amp_foreach_non_finite_check_and_unscale_(grads, overflow, self.scale.double().reciprocal().float())
            sound = not overflow.item()
            torch._amp_update_scale_(self.scale, self._growth, overflow, 2.0, 0.5, 2000)
        norm = clip_norm_(grads, self.clip) if self.clip is not None and sound else None
        if self.clip_value is not None and sound:
            clip_value_(grads, self.clip_value)
        return norm, sound

    def _apply(self, lr: float) -> None:
        if self.rule is not None:
            with torch.no_grad():
                for group in self.groups:
                    group.stepper.step([p.grad for p in group.params], lr * group.lr_scale, group.weight_decay)
        else:
            assert self.torch_optimizer is not None
            self._set_lrs()
            self.torch_optimizer.step()
        self.count += 1
        if self.ema is not None:
            self.ema.update()

    def _set_lrs(self) -> None:
        assert self.torch_optimizer is not None
        if self.schedule:
            multiplier = self.schedule(self.count)
            for group, base in zip(self.torch_optimizer.param_groups, self._base_lrs, strict=True):
                group["lr"] = base * multiplier

    def _closure_step(self, loss: Callable[[], Tensor]) -> UpdateInfo:
        assert self.torch_optimizer is not None

        def evaluate() -> Tensor:
            for p in self.params:
                p.grad = None
            value = loss()
            self._backward(value)
            self._finish_gradients()
            return value.detach()

        lr = self.lr
        self._set_lrs()
        first = self.torch_optimizer.step(evaluate)  # type: ignore[arg-type]
        self.count += 1
        if self.ema is not None:
            self.ema.update()
        for p in self.params:
            p.grad = None
        return UpdateInfo(torch.as_tensor(first), None, False, lr)

    def state_dict(self) -> State:
        """Return counts, the rule's state, the average, the scaler, and gradients accumulated so far.

        Every rank must call it: the gradients that they have accumulated apart are gathered.
        """
        state: State = {"count": self.count, "micro": self._micro}
        if self.rule is not None:
            state["groups"] = [group.state for group in self.groups]
        else:
            assert self.torch_optimizer is not None
            state["torch"] = self.torch_optimizer.state_dict()
        if self._micro:
            state["grads"] = self._gathered([p.grad for p in self.params])
        if self.ema is not None:
            state["ema"] = self.ema.state_dict()
        if self.scale is not None:
            state["scaler"] = [self.scale, self._growth]
        return state

    def _gathered(self, grads: list[Tensor | None]) -> list[list[Tensor | None]]:
        """Return every rank's gradients; sharded ones are parts of the same."""
        if self._world == 1 or any(hasattr(grad, "device_mesh") for grad in grads):
            return [grads]
        found: list[Any] = [None] * self._world
        torch.distributed.all_gather_object(found, grads)
        return found

    def load_state_dict(self, state: State) -> None:
        """Put a state back in place, strides kept (a fused rule diverges silently without them)."""
        self.count, self._micro = state["count"], state["micro"]
        if self.rule is not None:
            for group, saved in zip(self.groups, state["groups"], strict=True):
                group.bind(self.rule, rule_restore(group.state, saved))
        else:
            _load_torch_optimizer(self.torch_optimizer, state["torch"])
        ranks = state.get("grads") or [[None] * len(self.params)]
        grads: Sequence[Tensor | None] = ranks[_rank() if len(ranks) > 1 else 0]
        for p, grad in zip(self.params, grads, strict=True):
            p.grad = None if grad is None else torch.empty_like(p).copy_(placed(p, grad))
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        if self.scale is not None:
            rule_restore([self.scale, self._growth], state["scaler"])


def _require_no_stranger(loss: Tensor, params: Sequence[Tensor]) -> None:
    """Raise GradusError if a loss leads to a leaf that needs a gradient and is none of the parameters."""
    own = {id(p) for p in params}
    nodes = [loss.grad_fn]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        if node is None:
            continue
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in own:
            raise GradusError(
                f"this loss leads to a tensor of shape {tuple(leaf.shape)} that needs a gradient and is not the "
                "Updater's: leave `alone` out, or give the Updater all of them"
            )
        onward = {following for following, _ in node.next_functions} - seen
        seen |= onward
        nodes += onward


def _load_torch_optimizer(optimizer: Any, saved: State) -> None:
    """Load a `torch.optim` state without its dtype casts and with the parameters' strides."""
    optimizer.load_state_dict({"state": {}, "param_groups": saved["param_groups"]})
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for index, values in saved["state"].items():
        p = params[index]
        optimizer.state[p] = {key: _like(p, value) for key, value in values.items()}


def _like(p: Tensor, value: Any) -> Any:
    if isinstance(value, Tensor) and value.shape == p.shape:
        return torch.empty_like(p, dtype=value.dtype).copy_(value)
    return value.clone() if isinstance(value, Tensor) else value


def _world_size() -> int:
    return (
        torch.distributed.get_world_size()
        if torch.distributed.is_available() and torch.distributed.is_initialized()
        else 1
    )


def _rank() -> int:
    return torch.distributed.get_rank() if _world_size() > 1 else 0


def _average(grads: list[Tensor], bucket_bytes: int = 25_000_000) -> None:
    """Average gradients over the ranks in flat buckets; sharded ones are reduced by FSDP already."""
    import torch.distributed as dist

    bucket: list[Tensor] = []
    size = 0
    plain = [g for g in grads if not hasattr(g, "device_mesh")]
    for i, grad in enumerate(plain):
        bucket.append(grad)
        size += grad.numel() * grad.element_size()
        if size >= bucket_bytes or i == len(plain) - 1 or plain[i + 1].dtype != grad.dtype:
            flat = torch.cat([g.reshape(-1) for g in bucket])
            dist.all_reduce(flat)
            flat /= dist.get_world_size()
            for g, part in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                g.copy_(part.view(g.shape))
            bucket, size = [], 0


def _sharded_backward(loss: Tensor, own: Updater) -> None:
    """Back-propagate to FSDP2's sharded parameters, leaving the gradients of other Updaters as they were.

    FSDP2 does not fill sharded gradients under `backward(inputs=…)`, so the whole graph is differentiated and what
    belongs to others is put back.
    """
    mine = {id(p) for p in own.params}
    others = [p for updater in _LIVE for p in updater.params if id(p) not in mine]
    kept = [p.grad for p in others]
    for p in others:
        p.grad = None  # else it would be added to in place
    loss.backward()
    for p, grad in zip(others, kept, strict=True):
        p.grad = grad
