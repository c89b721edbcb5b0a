"""Every registered explainer keeps the contract, and the contract rejects explainers with planted bugs."""

import numpy as np
import pytest
import torch
from torch import nn

from gradus import canon
from gradus.explain import gradient, occlusion
from gradus.nn.probe import input_gradient
from gradus.testing.explainers import SmallNet, check_explainer, untouched

EXPLAINERS = sorted(id for id, entry in canon.scan().items() if entry.kind == "explainer")


def test_the_registry_knows_explainers():
    assert {"explain/gradient", "explain/grad-cam", "explain/integrated-gradients", "explain/occlusion"} <= set(
        EXPLAINERS
    )


@pytest.mark.parametrize("id", EXPLAINERS)
def test_contract(id):
    explainer = canon.load(canon.scan()[id])
    make = canon.example(id)
    check_explainer(make() if make else explainer)


@pytest.mark.parametrize("id", EXPLAINERS)
def test_signature_is_the_familys(id):
    entry = canon.scan()[id]
    assert list(entry.parameters)[:3] == ["fn", "inputs", "target"]
    rest = {name: p for name, p in entry.parameters.items() if name not in ("fn", "inputs", "target", "layer")}
    assert all(parameter.default != canon.REQUIRED for parameter in rest.values())


def leaves_parameter_gradients(fn, inputs, *, target):
    leaf = inputs.clone().requires_grad_()
    with torch.enable_grad():
        fn(leaf).gather(1, torch.as_tensor(target).expand(len(leaf))[:, None]).sum().backward()
    return leaf.grad


def normalises_over_the_batch(fn, inputs, *, target):
    found = gradient(fn, inputs, target=target)
    return found / found.abs().max()


def consumes_randomness(fn, inputs, *, target):
    torch.rand(1)
    return gradient(fn, inputs, target=target)


def smooths_with_global_noise(fn, inputs, *, target):
    state = torch.get_rng_state()
    noisy = inputs + 0.1 * torch.randn_like(inputs)
    torch.set_rng_state(state)
    return gradient(fn, noisy, target=target)


def turns_training_off(fn, inputs, *, target):
    if isinstance(fn, nn.Module):
        fn.eval()
    return gradient(fn, inputs, target=target)


def explains_class_zero(fn, inputs, *, target):
    return gradient(fn, inputs, target=0)


def explains_the_first_rows_target(fn, inputs, *, target):
    return gradient(fn, inputs, target=target if isinstance(target, int) else target[:1].expand(len(inputs)))


def works_in_double(fn, inputs, *, target):
    return gradient(fn, inputs, target=target).double()


def keeps_the_graph(fn, inputs, *, target):
    return gradient(fn, inputs, target=target).requires_grad_()


def marks_the_inputs(fn, inputs, *, target):
    if not inputs.is_inference():
        inputs.requires_grad_()
    return gradient(fn, inputs, target=target)


def changes_the_inputs(fn, inputs, *, target):
    found = gradient(fn, inputs, target=target)
    inputs.clamp_(0.1, 0.9)
    return found


def adds_a_constant(fn, inputs, *, target):
    return gradient(fn, inputs, target=target) + 1e-3


def needs_the_callers_grad_mode(fn, inputs, *, target):
    return gradient(fn, inputs, target=target) if torch.is_grad_enabled() else torch.ones_like(inputs)


def swallows_errors(fn, inputs, *, target):
    try:
        return gradient(fn, inputs, target=target)
    except ZeroDivisionError:
        return inputs * 0


def hooks_stay_after_an_error(fn, inputs, *, target, layer):
    kept = []
    handle = layer.register_forward_hook(lambda module, args, output: kept.append(output))
    found = gradient(fn, inputs, target=target)
    handle.remove()
    return found


def wraps_targets_around(fn, inputs, *, target):
    return gradient(fn, inputs, target=torch.as_tensor(target).remainder(3).expand(len(inputs)))


def drops_a_row(fn, inputs, *, target):
    return gradient(fn, inputs, target=target)[:, :, 1:]


def divides_by_zero(fn, inputs, *, target):
    found = gradient(fn, inputs, target=target)
    return found / (found > 0)


TWINS = {
    leaves_parameter_gradients: "gradients changed",
    normalises_over_the_batch: "own target",
    consumes_randomness: "random state changed",
    smooths_with_global_noise: "two answers",
    turns_training_off: "training flags changed",
    explains_class_zero: "makes no difference",
    explains_the_first_rows_target: "without the others",
    works_in_double: "torch.float64 for inputs of torch.float32",
    keeps_the_graph: "hang on the graph",
    marks_the_inputs: "require a gradient",
    changes_the_inputs: "inputs were changed",
    adds_a_constant: "ignores",
    needs_the_callers_grad_mode: "under no_grad",
    swallows_errors: "swallowed",
    hooks_stay_after_an_error: "hooks changed",
    wraps_targets_around: "target 3",
    drops_a_row: "of shape",
    divides_by_zero: "not finite",
}


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.__name__)
def test_planted_bugs_are_rejected(twin):
    with pytest.raises(AssertionError, match=TWINS[twin]):
        check_explainer(twin)


def test_the_plain_form_of_the_twins_passes():
    check_explainer(lambda fn, inputs, *, target: input_gradient(fn, inputs, target))


def test_a_window_across_the_border_breaks_the_dummy_axiom():
    overlapping = lambda fn, inputs, *, target: occlusion(fn, inputs, target=target, window=3, stride=1)
    check_explainer(overlapping, dummy=False)
    with pytest.raises(AssertionError, match="ignores"):
        check_explainer(overlapping)


@pytest.mark.parametrize(
    ("what", "touch"),
    [
        ("weights", lambda model: model.head[1].weight.data.add_(1)),
        ("weights", lambda model: model.feature_map[2].running_mean.add_(1)),
        ("gradients", lambda model: model.head[1].weight.grad.zero_()),
        ("gradients", lambda model: setattr(model.head[1].weight, "grad", None)),
        ("requires_grad", lambda model: model.requires_grad_(False)),
        ("training", lambda model: model.train()),
        ("hooks", lambda model: model.head.register_forward_hook(print)),
        ("hooks", lambda model: model.head.register_full_backward_hook(print)),
        ("random", lambda model: torch.rand(1)),
        ("random", lambda model: np.random.rand()),  # noqa: NPY002
    ],
)
def test_untouched_sees_every_trace(what, touch):
    model = SmallNet()
    with pytest.raises(AssertionError, match=what), untouched(model):
        touch(model)
