"""The same numbers as Captum where the definition is the same, in float64."""

import pytest
import torch

from gradus.explain import completeness_residual, grad_cam, gradient, integrated_gradients, occlusion
from gradus.testing.explainers import SmallNet

attr = pytest.importorskip("captum.attr")

TARGETS = torch.tensor([0, 1, 2, 1, 0])
EXACT = {"rtol": 0, "atol": 1e-10}


@pytest.fixture(autouse=True)
def _captum_in_double(monkeypatch):
    """Captum rounds quadratures and means to float32, worth 1e-8 each; here it is made to keep float64."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def images() -> torch.Tensor:
    return torch.rand(5, 2, 8, 8, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("legendre", "gausslegendre"),
        ("left", "riemann_left"),
        ("middle", "riemann_middle"),
        ("right", "riemann_right"),
    ],
)
@pytest.mark.parametrize("baseline", [0.0, 0.5, "other"])
def test_integrated_gradients(ours, theirs, baseline):
    model, inputs = SmallNet(), images()
    baseline = inputs.flip(0) if baseline == "other" else baseline
    expected, delta = attr.IntegratedGradients(model).attribute(
        inputs, baseline, target=TARGETS, n_steps=20, method=theirs, return_convergence_delta=True
    )
    found = integrated_gradients(model, inputs, target=TARGETS, baselines=baseline, steps=20, quadrature=ours)
    torch.testing.assert_close(found, expected, **EXACT)
    residual = completeness_residual(model, inputs, found, target=TARGETS, baselines=baseline)
    torch.testing.assert_close(residual, delta, **EXACT)


def test_integrated_gradients_by_trapezoids_differ_by_the_width_of_an_interval():
    """Captum's n nodes are 1/(n − 1) apart but weigh 1/n each; ours weigh what they are apart."""
    model, inputs = SmallNet(), images()
    expected = attr.IntegratedGradients(model).attribute(inputs, target=TARGETS, n_steps=32, method="riemann_trapezoid")
    found = integrated_gradients(model, inputs, target=TARGETS, steps=32, quadrature="trapezoid")
    torch.testing.assert_close(found * 31 / 32, expected, **EXACT)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("layer", [0, 2, 3, 4])
def test_grad_cam(layer, relu):
    model, inputs = SmallNet(), images()
    module = model.feature_map[layer]
    expected = attr.LayerGradCam(model, module).attribute(inputs, target=TARGETS, relu_attributions=relu)
    found = grad_cam(model, inputs, target=TARGETS, layer=module, relu=relu, upsample=False)
    torch.testing.assert_close(found, expected.detach(), **EXACT)
    larger = attr.LayerAttribution.interpolate(expected, (8, 8), "bilinear").detach()
    torch.testing.assert_close(grad_cam(model, inputs, target=TARGETS, layer=module, relu=relu), larger, **EXACT)


@pytest.mark.parametrize(
    ("window", "stride"), [((1, 1), (1, 1)), ((2, 2), (2, 2)), ((3, 3), (2, 1)), ((5, 2), (3, 2)), ((8, 8), (1, 1))]
)
@pytest.mark.parametrize("baseline", [0.0, 0.3])
def test_occlusion(window, stride, baseline):
    model, inputs = SmallNet(), images()
    with torch.no_grad():
        expected = attr.Occlusion(model).attribute(
            inputs,
            sliding_window_shapes=(2, *window),
            strides=(2, *stride),
            baselines=baseline,
            target=TARGETS,
            perturbations_per_eval=16,
        )
    found = occlusion(model, inputs, target=TARGETS, window=window, stride=stride, baselines=baseline)
    torch.testing.assert_close(found, expected, **EXACT)


def test_gradient():
    model, inputs = SmallNet(), images()
    for absolute in (True, False):
        expected = attr.Saliency(model).attribute(inputs.clone(), target=TARGETS, abs=absolute)
        found = gradient(model, inputs, target=TARGETS, absolute=absolute)
        torch.testing.assert_close(found, expected, **EXACT)
