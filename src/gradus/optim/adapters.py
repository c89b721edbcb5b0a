"""`torch.optim.Optimizer` classes over our update rules, for people's own training loops.

Each class is composed from a registered function: its settings are the keys of every parameter group, so per-group
values, torch's own schedulers and `state_dict` all work, and the arithmetic stays in the rule. Slots have torch's
names, so a state saved by `torch.optim` loads here and the other way round. The engine does not use these: importing
`torch.optim` is slow.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from gradus import canon
from gradus.errors import GradusError
from gradus.optim.rule import Rule
from gradus.optim.settings import accept

__all__ = [
    "AMSGrad",
    "AdaGrad",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamHD",
    "AdamW",
    "ArithmeticMomentum",
    "NAdam",
    "NesterovHD",
    "NoisySGD",
    "RMSprop",
    "RuleOptimizer",
    "SGD",
    "SGDHD",
    "Yogi",
]


class RuleOptimizer(torch.optim.Optimizer):
    """An optimiser of torch's kind that steps by a rule; abstract, made concrete by `rule_name`."""

    rule_name: ClassVar[str]

    def __init__(self, params: Any, *positional: Any, **settings: Any) -> None:
        entry = canon.lookup("optimizer", self.rule_name)
        accept(entry, settings)
        if len(positional) > len(entry.parameters):
            raise GradusError(f"{type(self).__name__} takes {len(entry.parameters)} settings after params; name them")
        settings.update(zip(entry.parameters, positional, strict=False))
        defaults = {name: parameter.default for name, parameter in entry.parameters.items()} | settings
        canon.load(entry)(**defaults)  # refuses what is out of range now rather than at the first step
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step every parameter that has a gradient; return the closure's loss, if one is given.

        Args:
            closure: computes the loss and its gradients anew.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            rule = self._rule_of(group)
            params = [param for param in group["params"] if param.grad is not None]
            held = [_fill(self.state[param], rule, param) for param in params]
            state = {key: [own[key] for own in held] for key in ("step", *rule.slots)}
            rule.update(params, [param.grad for param in params], state, float(group["lr"]), group["weight_decay"])
            for own, step in zip(held, state["step"], strict=True):
                own["step"] = step
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state of this class or of its `torch.optim` namesake, into the parameters' own strides.

        Deviations:
            torch casts every state tensor to the parameter's dtype and keeps the saved strides; here each slot is made
            by the rule and filled, so its dtype and strides are the rule's.
        """
        super().load_state_dict(state_dict)
        order = [param for group in self.param_groups for param in group["params"]]
        names = [name for group in state_dict["param_groups"] for name in group["params"]]
        rules = {
            param: rule for group in self.param_groups for rule in [self._rule_of(group)] for param in group["params"]
        }
        for name, param in zip(names, order, strict=True):
            saved = state_dict["state"].get(name)
            if saved:
                self.state[param] = _fill({}, rules[param], param, saved)

    def _rule_of(self, group: Mapping[str, Any]) -> Rule:
        """Return the rule with a group's settings.

        Its lr and weight decay stay those of the constructor, because a step is given its own: a schedule may move them
        without making a new rule, and a rule that learns its rate knows what a multiple of it is.
        """
        settings = {**self.defaults, **group, **{name: self.defaults[name] for name in ("lr", "weight_decay")}}
        return _rule(self.rule_name, tuple((k, _hashable(v)) for k, v in settings.items() if k != "params"))


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value.item() if isinstance(value, Tensor) else value


@lru_cache(maxsize=256)
def _rule(name: str, settings: tuple[tuple[str, Any], ...]) -> Rule:
    """Return the rule with these settings; keys that only torch's groups have are passed over."""
    entry = canon.lookup("optimizer", name)
    return canon.load(entry)(**{key: value for key, value in settings if key in entry.parameters})


def _fill(own: dict[str, Any], rule: Rule, param: Tensor, saved: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return `own` with every slot the rule has and a step count, from `saved` where that holds them."""
    saved = saved or {}
    for slot, start in rule.slots.items():
        if slot not in own:
            own[slot] = start(param)
            if saved.get(slot) is not None:
                own[slot].copy_(saved[slot])
    if "step" not in own:
        # torch's SGD keeps no count: a velocity says that there was a first step.
        own["step"] = int(saved.get("step", any(value is not None for value in saved.values())))
    return own


def _over(title: str, name: str) -> type[RuleOptimizer]:
    """Return the optimiser class over a registered rule, with that rule's signature and docstring."""
    make = canon.find("optimizer", name)
    signature = inspect.signature(make)
    params = inspect.Parameter("params", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    made: Any = type(
        title,
        (RuleOptimizer,),
        {"rule_name": name, "__doc__": make.__doc__, "__module__": __name__, "__qualname__": title},
    )
    made.__signature__ = signature.replace(parameters=[params, *signature.parameters.values()], return_annotation=None)
    return made


SGD = _over("SGD", "sgd")
NoisySGD = _over("NoisySGD", "noisy_sgd")
ArithmeticMomentum = _over("ArithmeticMomentum", "arithmetic_momentum")
AdaGrad = Adagrad = _over("AdaGrad", "adagrad")  # Adagrad: as torch spells it
Adadelta = _over("Adadelta", "adadelta")
RMSprop = _over("RMSprop", "rmsprop")
Adam = _over("Adam", "adam")
AdamW = _over("AdamW", "adamw")
AMSGrad = _over("AMSGrad", "amsgrad")
NAdam = _over("NAdam", "nadam")
Yogi = _over("Yogi", "yogi")
SGDHD = _over("SGDHD", "sgd_hd")
NesterovHD = _over("NesterovHD", "nesterov_hd")
AdamHD = _over("AdamHD", "adam_hd")
