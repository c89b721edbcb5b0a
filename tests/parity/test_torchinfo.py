"""The summary against torchinfo: shapes, parameters, multiply-adds and memory, module by module."""

import pytest
import torch

from gradus.nn.summary import summary
from gradus.vision.lenet import Grid
from gradus.vision.models import build

torchinfo = pytest.importorskip("torchinfo")

CASES = {
    "lenet": ({"channels": 1}, (2, 1, 28, 28)),
    "alexnet": ({"hidden": 32}, (1, 3, 64, 64)),
    "resnet20": ({}, (2, 3, 32, 32)),
    "resnet50": ({}, (1, 3, 64, 64)),
    "googlenet": ({"auxiliary": False}, (1, 3, 64, 64)),
    "separable": ({"width": 0.25}, (1, 3, 64, 64)),
    "densenet121": ({}, (1, 3, 64, 64)),
}


@pytest.mark.parametrize("name", CASES)
def test_agrees(name: str) -> None:
    settings, shape = CASES[name]
    model = build(name, classes=10, **settings)
    ours = summary(model, shape)
    peer = torchinfo.summary(model, input_size=shape, verbose=0, device="cpu")
    assert (ours.parameters, ours.trainable) == (peer.total_params, peer.trainable_params)
    assert ours.parameter_bytes == peer.total_param_bytes
    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    rows = iter([row for row, module in zip(ours.rows, model.modules(), strict=True) if isinstance(module, kinds)])
    outputs = 0
    for layer in peer.summary_list:
        outputs += layer.output_bytes if layer.is_leaf_layer else 0
        if isinstance(layer.module, kinds):
            row = next(rows)
            assert row.output_shape == tuple(layer.output_size)
            assert row.parameters == layer.num_params
            # Theirs counts the addition of a bias as one multiply-add for each time that the weights are used.
            uses = layer.output_size[0] * (1 if row.kind == "Linear" else layer.output_size[2] * layer.output_size[3])
            biases = 0 if layer.module.bias is None else layer.module.bias.numel() * uses
            assert row.multiply_adds == layer.macs - biases
    assert next(rows, None) is None
    # Theirs also charges for views (flatten), dropout in evaluation and shortcuts that do nothing.
    free = sum(
        layer.output_bytes
        for layer in peer.summary_list
        if isinstance(layer.module, torch.nn.Flatten | torch.nn.Dropout | torch.nn.Identity | Grid)
    )
    assert ours.activation_bytes == outputs - free
