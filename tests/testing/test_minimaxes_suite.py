"""`check_minimax` passes every registered dynamics, and rejects each of a family of planted bugs."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gradus import canon
from gradus.optim.minimax import Dynamics, gda, negative_momentum, ogda
from gradus.optim.ridge import follow_the_ridge
from gradus.testing.minimaxes import check_minimax

EXAMPLES: dict[str, Callable[[], Dynamics]] = {
    **{name: (lambda entry=entry: canon.load(entry)()) for name, entry in canon.names("minimax").items()},
    "gda in turns, two rates": lambda: gda(0.05, 0.1, alternating=True),
    "the ridge by conjugate gradients": lambda: follow_the_ridge(dense=0),
    "a damped ridge": lambda: follow_the_ridge(damping=0.1),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_registered_dynamics_keeps_the_contract(name: str) -> None:
    check_minimax(EXAMPLES[name])


Step = Callable[..., tuple[Tensor, Tensor]]


def _changed(change: Callable[[Step, Any], Any], base: Callable[[], Dynamics] = gda) -> Callable[[], Dynamics]:
    """Return a maker of dynamics whose step is wrapped."""

    def make() -> Dynamics:
        dynamics = base()
        return replace(dynamics, name="twin", step=lambda *arguments: change(dynamics.step, arguments))

    return make


def _both_descend(step: Step, arguments: Any) -> Any:
    fn, x, y, *rest = arguments
    ahead, back = step(fn, x, y, *rest)
    return ahead, 2 * y - back


def _y_waits(step: Step, arguments: Any) -> Any:
    return step(*arguments)[0], arguments[2]


def _in_place(step: Step, arguments: Any) -> Any:
    x, y = step(*arguments)
    return arguments[1].copy_(x), y


def _drifts(step: Step, arguments: Any) -> Any:
    x, y = step(*arguments)
    return x + 1e-6, y


def _keeps_the_graph(step: Step, arguments: Any) -> Any:
    x, y = step(*arguments)
    return x.requires_grad_(), y


def _doubles_precision(step: Step, arguments: Any) -> Any:
    x, y = step(*arguments)
    return x.double(), y.double()


def _misuses_what_is_known(step: Step, arguments: Any) -> Any:
    *front, known = arguments
    return step(*front, None if known is None else (known[0], 2 * known[1]))


def _sums_whatever_comes(step: Step, arguments: Any) -> Any:
    fn, *rest = arguments
    return step(lambda x, y: fn(x, y).sum(), *rest)


def _holds_a_set(step: Step, arguments: Any) -> Any:
    arguments[3]["seen"] = {1}
    return step(*arguments)


def _remembers_in_secret() -> Dynamics:
    dynamics, count = gda(), [0]

    def step(fn: Any, x: Tensor, y: Tensor, state: Any, known: Any = None) -> tuple[Tensor, Tensor]:
        count[0] += 1
        ahead, above = dynamics.step(fn, x, y, state, known)
        return torch.lerp(x, ahead, 1 / count[0] ** 0.1), above

    return replace(dynamics, name="twin", step=step)


TWINS: dict[str, tuple[Callable[[], Dynamics], str]] = {
    "both descend": (_changed(_both_descend), "y did not go up"),
    "y waits": (_changed(_y_waits), "y did not go up"),
    "writes into the points": (_changed(_in_place), "changed in place|left the saddle"),
    "drifts": (_changed(_drifts), "left the saddle"),
    "leaves points in a graph": (_changed(_keeps_the_graph), "in a graph"),
    "changes the dtype": (_changed(_doubles_precision), "shape or dtype"),
    "misuses known gradients": (_changed(_misuses_what_is_known), "were known led elsewhere"),
    "sums a vector": (_changed(_sums_whatever_comes), "without a GradusError"),
    "state holds a set": (_changed(_holds_a_set), "more than tensors"),
    "remembers in secret": (_remembers_in_secret, "resumed from its state"),
    "never moves": (lambda: replace(ogda(0.0), name="twin"), "x did not go down"),
    "momentum too strong": (lambda: replace(negative_momentum(0.9, momentum=-0.99), name="twin"), "from the saddle"),
}


@pytest.mark.parametrize("bug", TWINS)
def test_planted_bugs_are_rejected(bug: str) -> None:
    make, said = TWINS[bug]
    with pytest.raises(AssertionError, match=said):
        check_minimax(make)
