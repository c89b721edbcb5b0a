"""Every registered attack keeps the contract, and the contract rejects attacks with planted bugs."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from gradus import canon
from gradus.robust import fgsm, pgd
from gradus.robust.goal import Goal
from gradus.testing.attacks import check_attack

ATTACKS = sorted(id for id, entry in canon.scan().items() if entry.kind == "attack")


def test_the_registry_knows_attacks():
    assert {"robust/fgsm", "robust/pgd"} <= set(ATTACKS)


@pytest.mark.parametrize("id", ATTACKS)
def test_contract(id):
    attack = canon.load(canon.scan()[id])
    make = canon.example(id)
    check_attack(make() if make else attack)


@pytest.mark.parametrize(
    ("settings", "norm", "budget"),
    [
        ({"norm": "l2"}, "l2", 0.8),
        ({"norm": "l2", "random_start": False, "early_exit": True}, "l2", 0.8),
        ({"random_start": False, "steps": 3}, "linf", 0.1),
        ({"restarts": 3, "steps": 2, "early_exit": True}, "linf", 0.1),
        ({"step_size": 1.0, "steps": 4}, "linf", 0.1),
    ],
    ids=str,
)
def test_contract_of_pgd_settings(settings, norm, budget):
    check_attack(partial(pgd, **settings), norm=norm, budget=budget)


@pytest.mark.parametrize("id", ATTACKS)
def test_signature_is_the_familys(id):
    entry = canon.scan()[id]
    assert list(entry.parameters)[:4] == ["fn", "inputs", "labels", "eps"]
    rest = {name: p for name, p in entry.parameters.items() if name not in ("fn", "inputs", "labels")}
    assert all(parameter.default != canon.REQUIRED for parameter in rest.values())


def ascent(fn, inputs, labels, targeted=False):
    """The signed gradient, with the checks the contract asks for."""
    rows = torch.arange(len(inputs))
    return Goal(fn, inputs, labels, targeted).climb(inputs, rows)[2].sign()


def rounds_out_of_the_ball(fn, inputs, labels, *, eps):
    fgsm(fn, inputs, labels, eps=eps)
    return (inputs + eps * ascent(fn, inputs, labels)).clamp(0, 1)


def clamps_to_rounded_bounds(fn, inputs, labels, *, eps):
    moved = fgsm(fn, inputs, labels, eps=eps) + eps * ascent(fn, inputs, labels)
    return moved.clamp(inputs - eps, inputs + eps).clamp(0, 1)


def leaves_the_cube(fn, inputs, labels, *, eps):
    fgsm(fn, inputs, labels, eps=eps)
    return inputs + 0.999 * eps * ascent(fn, inputs, labels)


def descends(fn, inputs, labels, *, eps):
    return fgsm(fn, inputs, labels, eps=eps, targeted=True)


def ignores_targeted(fn, inputs, labels, *, eps, targeted=False):
    return fgsm(fn, inputs, labels, eps=eps)


def does_nothing(fn, inputs, labels, *, eps):
    fgsm(fn, inputs, labels, eps=eps)
    return inputs.clone()


def starts_from_the_global_generator(fn, inputs, labels, *, eps):
    return pgd(fn, inputs, labels, eps=eps, generator=torch.default_generator)


def writes_parameter_gradients(fn, inputs, labels, *, eps):
    with torch.inference_mode(False), torch.enable_grad():
        leaf = inputs.clone().requires_grad_()
        F.cross_entropy(fn(leaf), labels).backward()
    return fgsm(fn, inputs, labels, eps=eps)


def attacks_in_place(fn, inputs, labels, *, eps):
    return inputs.copy_(fgsm(fn, inputs, labels, eps=eps))


def takes_modules_only(fn, inputs, labels, *, eps):
    return fgsm(fn, inputs, labels, eps=eps) if hasattr(fn, "parameters") else inputs


def works_in_single(fn, inputs, labels, *, eps):
    return fgsm(fn, inputs, labels, eps=eps).float()


def clamps_odd_inputs(fn, inputs, labels, *, eps):
    return fgsm(fn, inputs.nan_to_num().clamp(0, 1), labels, eps=eps)


def wraps_labels_around(fn, inputs, labels, *, eps):
    return fgsm(fn, inputs, labels.remainder(3), eps=eps)


def takes_negative_budgets(fn, inputs, labels, *, eps):
    return fgsm(fn, inputs, labels, eps=abs(eps))


TWINS = {
    rounds_out_of_the_ball: "more than eps",
    clamps_to_rounded_bounds: "more than eps",
    leaves_the_cube: r"leaves \[0, 1\]",
    descends: "not up",
    ignores_targeted: "aimed at a target",
    does_nothing: "not up",
    starts_from_the_global_generator: "random state changed",
    writes_parameter_gradients: "gradients changed",
    attacks_in_place: "inputs were changed",
    takes_modules_only: "a plain function",
    works_in_single: "became torch.float32",
    clamps_odd_inputs: "an input of 1.5",
    wraps_labels_around: "label 3",
    takes_negative_budgets: "eps = -0.1",
}


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.__name__)
def test_planted_bugs_are_rejected(twin):
    with pytest.raises(AssertionError, match=TWINS[twin]):
        check_attack(twin)


def test_a_projection_without_slack_is_rejected_in_l2():
    def projects_by_rounded_norms(fn, inputs, labels, *, eps):
        step = ascent(fn, inputs, labels)
        step = step * (eps / step.flatten(1).norm(dim=1)).view(-1, 1, 1, 1)
        return (inputs + step).clamp(0, 1)

    with pytest.raises(AssertionError, match="more than eps"):
        check_attack(projects_by_rounded_norms, norm="l2", budget=0.8)
