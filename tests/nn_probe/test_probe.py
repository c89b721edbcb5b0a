"""Probes see what flows through a model and leave nothing behind."""

import pytest
import torch
from torch import nn

from gradus.errors import GradusError
from gradus.nn.probe import capture, frozen, input_gradient, row_gradients, target_scores
from gradus.testing.explainers import SmallNet, untouched


def small() -> tuple[SmallNet, torch.Tensor]:
    return SmallNet(), torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_capture_records_every_output_of_every_module():
    model, inputs = small()
    with untouched(model), capture(model.feature_map, model.head) as captured:
        first, second = model(inputs), model(2 * inputs)
    assert torch.equal(captured[model.head], second)
    assert torch.equal(captured.outputs(model.head)[0], first)
    assert torch.equal(captured[model.feature_map], model.feature_map(2 * inputs))


def test_capture_does_not_change_what_the_model_computes():
    model, inputs = small()
    plain = model(inputs)
    with capture(*model.modules()):
        assert torch.equal(model(inputs), plain)


def test_a_module_named_twice_is_recorded_once():
    model, inputs = small()
    with capture(model.head, model.head) as captured:
        model(inputs)
    assert len(captured.outputs(model.head)) == 1


def test_captured_gradient_is_the_chain_rules():
    model, inputs = small()
    for flag in (True, False):
        model.requires_grad_(flag)
        with capture(model.feature_map, gradients=True) as captured:
            scores = model(inputs)
            found = captured.gradient(scores[:, 1], model.feature_map)
        expected = model.head[1].weight[1].view(1, 4, 4, 4).expand_as(found)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


def test_nested_layers_both_have_gradients():
    model, inputs = small()
    model.requires_grad_(False)
    conv, tanh = model.feature_map[3], model.feature_map[4]
    with capture(conv, tanh, gradients=True) as captured:
        score = model(inputs)[:, 0]
        inner, outer = (captured.gradient(score, layer) for layer in (conv, tanh))
    torch.testing.assert_close(inner, outer * (1 - captured[tanh] ** 2), rtol=1e-12, atol=1e-14)


def test_a_later_in_place_operation_alters_no_record():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    with capture(model[0], gradients=True) as captured:
        scores = model(inputs)
        gradient = captured.gradient(scores[:, 0], model[0])
    before = model[0](inputs)
    assert torch.equal(captured[model[0]], before)
    assert bool((before < 0).any())
    torch.testing.assert_close(gradient, model[2].weight[0] * (before > 0))


def test_hooks_go_when_the_block_raises():
    model, inputs = small()
    last = nn.Sequential(model, nn.Linear(4, 4).double())
    with untouched(last), pytest.raises(RuntimeError, match="cannot be multiplied"), capture(*last.modules()):
        last(inputs)


def test_hooks_go_when_registering_one_fails():
    class Stubborn(nn.Module):
        def register_forward_hook(self, *args, **kwargs):
            raise ZeroDivisionError

    model, _ = small()
    with untouched(model), pytest.raises(ZeroDivisionError), capture(model.head, Stubborn()):
        pass


def test_a_layer_that_did_not_run_is_named():
    model, _ = small()
    with capture(model.head) as captured, pytest.raises(GradusError, match="Sequential did not run"):
        captured[model.head]


def test_a_layer_that_gives_several_tensors_is_named():
    layer = nn.LSTM(2, 2)
    with capture(layer), pytest.raises(GradusError, match="LSTM gives a tuple"):
        layer(torch.rand(1, 2))


def test_input_gradient_of_a_linear_model_is_its_weights():
    weights = torch.randn(3, 5, dtype=torch.float64)
    found = input_gradient(lambda x: x @ weights.T, torch.rand(4, 5, dtype=torch.float64), torch.tensor([0, 2, 1, 1]))
    assert torch.equal(found, weights[[0, 2, 1, 1]])


def test_input_gradient_leaves_no_trace():
    model, inputs = small()
    with untouched(model):
        found = input_gradient(model, inputs, 2)
    assert not found.requires_grad
    assert not inputs.requires_grad
    assert inputs.grad is None


def test_row_gradients_give_the_values_too():
    inputs = torch.rand(4, 5, dtype=torch.float64)
    values, gradients = row_gradients(lambda x: (x**3).sum(1), inputs)
    torch.testing.assert_close(values, (inputs**3).sum(1))
    torch.testing.assert_close(gradients, 3 * inputs**2)


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: x.detach() @ torch.ones(5, 3),
        lambda x: (x @ torch.ones(5, 3)).round().detach(),
        lambda x: torch.ones(4, 3, requires_grad=True) * 1,
        torch.no_grad()(lambda x: x @ torch.ones(5, 3)),
    ],
)
def test_a_function_without_gradient_is_refused(fn):
    with pytest.raises(GradusError, match="no gradient of the input"):
        input_gradient(fn, torch.rand(4, 5), 0)


def test_target_scores_pick_one_class_a_row():
    scores = torch.arange(6.0).view(2, 3)
    assert target_scores(scores, 1).tolist() == [1, 4]
    assert target_scores(scores, torch.tensor([2, 0])).tolist() == [2, 3]
    with pytest.raises(GradusError, match="label 3 is outside the function's 3 classes, 0 to 2"):
        target_scores(scores, 3)


def test_frozen_restores_each_parameters_own_flag():
    model, inputs = small()
    with untouched(model), frozen(model):
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert not model(inputs).requires_grad
    with untouched(model), pytest.raises(ZeroDivisionError), frozen(model.feature_map, model.head):
        raise ZeroDivisionError
