"""The summary equals hand counts, and leaves the model as it found it."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradus.nn.attention import SelfAttention
from gradus.nn.receptive_field import receptive_field
from gradus.nn.recurrent import Recurrent
from gradus.nn.summary import summary
from gradus.vision.models import build

# Weights and multiply-adds of LeNet-5 by hand, one grey image of 28×28.
LENET = {
    "trunk.conv1": (6 * 25 + 6, 25 * 6 * 28 * 28),
    "trunk.conv2": (16 * 6 * 25 + 16, 25 * 6 * 16 * 10 * 10),
    "head.linear1": (400 * 120 + 120, 400 * 120),
    "head.linear2": (120 * 84 + 84, 120 * 84),
    "head.linear": (84 * 10 + 10, 84 * 10),
}


def test_lenet_by_hand() -> None:
    table = summary(build("lenet", classes=10, channels=1), (1, 1, 28, 28))
    rows = {row.path: row for row in table.rows}
    for path, (weights, work) in LENET.items():
        assert (rows[path].parameters, rows[path].multiply_adds) == (weights, work)
    assert table.parameters == table.trainable == 61_706
    assert table.multiply_adds == sum(work for _, work in LENET.values()) == 416_520
    assert table.parameter_bytes == 4 * 61_706
    assert rows["trunk.conv2"].output_shape == (1, 16, 10, 10)
    # The first map is pooled before it is rectified, the second after; the grid leaves a 5×5 map alone.
    maps = (6 * 28 * 28 + 2 * 6 * 14 * 14) + (2 * 16 * 10 * 10 + 16 * 5 * 5)
    assert table.activation_bytes == 4 * (maps + 2 * 120 + 2 * 84 + 10)


def test_containers_count_what_is_inside_and_batches_scale() -> None:
    model = build("resnet20", classes=10)
    one, four = summary(model, (1, 3, 32, 32)), summary(model, (4, 3, 32, 32))
    rows = {row.path: row for row in one.rows}
    assert rows["trunk"].multiply_adds + rows["head"].multiply_adds == one.multiply_adds
    assert rows["trunk.stage1"].parameters == 6 * (9 * 16 * 16 + 32)
    stages = [6 * 9 * 16 * 16 * 1024, 9 * (16 + 5 * 32) * 32 * 256, 9 * (32 + 5 * 64) * 64 * 64]
    assert one.multiply_adds == 27 * 16 * 1024 + sum(stages) + 640
    assert four.multiply_adds == 4 * one.multiply_adds
    assert four.activation_bytes == 4 * one.activation_bytes
    assert four.parameters == one.parameters


def test_the_model_is_left_as_it_was() -> None:
    model = build("resnet20", classes=10).train()
    model.alias = model.trunk.stage2
    model.trunk.stage1.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    random_state = torch.get_rng_state()
    summary(model, (2, 3, 32, 32))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_attention_counts_its_two_products() -> None:
    tokens, width = 10, 24
    table = summary(SelfAttention(width, 4), (3, tokens, width))
    linear = 3 * tokens * width * 4 * width
    assert table.multiply_adds == linear + 2 * 3 * tokens * tokens * width


class Functional(nn.Module):
    """Work outside of modules, a shared layer, and a frozen weight."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6, bias=False)
        self.alias = self.layer
        self.kernel = nn.Parameter(torch.ones(4, 2, 3, 3), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(self.alias(x)) @ torch.ones(6, 4 * 36)
        return F.conv2d(y.reshape(-1, 4, 6, 6), self.kernel, groups=2)


def test_functional_calls_shared_and_frozen_weights() -> None:
    table = summary(Functional(), (5, 6))
    assert table.multiply_adds == 5 * (2 * 6 * 6 + 6 * 4 * 36 + 9 * 4 * 2 * 16)
    assert (table.parameters, table.trainable) == (36 + 72, 36)


@pytest.mark.parametrize("kind, gates, states", [("rnn", 1, 1), ("gru", 3, 1), ("lstm", 4, 2)])
def test_recurrent_layers(kind: str, gates: int, states: int) -> None:
    """Each of five steps multiplies the input and the state by the gates' weights, in both layers and directions."""
    table = summary(Recurrent(kind, 3, 4, layers=2, bidirectional=True), (2, 5, 3))
    rows = {row.path: row for row in table.rows}
    below, above = gates * 4 * (3 + 4), gates * 4 * (8 + 4)
    assert table.parameters == 2 * (below + above) + 4 * gates * 2 * 4
    assert table.multiply_adds == rows["cells"].multiply_adds == 2 * 5 * 2 * (below + above)
    assert rows["cells.0"].multiply_adds == 2 * 5 * below
    assert rows[""].output_shape == (2, 5, 8)
    assert rows["cells.1"].output_shape == (2, 5, 4)
    if states == 1:
        assert rows["cells.1"].output_bytes == 4 * (2 * 5 * 4 + 2 * 4)
    peer = summary(getattr(nn, kind.upper())(3, 4, 2, bidirectional=True, batch_first=True), (2, 5, 3))
    assert (peer.parameters, peer.multiply_adds) == (table.parameters, table.multiply_adds)
    assert peer.rows[0].output_shape == (2, 5, 8)


def test_jordans_read_out_counts() -> None:
    table = summary(Recurrent("jordan", 3, 4, outputs=6), (2, 5, 3))
    assert table.multiply_adds == 2 * 5 * 4 * (3 + 6 + 6)


def test_tokens() -> None:
    table = summary(nn.Sequential(nn.Embedding(20, 6), nn.Linear(6, 4, bias=False)), (3, 7), dtype=torch.int64)
    assert table.parameters == 20 * 6 + 6 * 4
    assert table.multiply_adds == 3 * 7 * 6 * 4


def test_receptive_fields() -> None:
    """In the same pass, the fields that `receptive_field` finds one by one; none where there is no image."""
    model = build("resnet20", classes=10)
    table = summary(model, (1, 3, 32, 32))
    modules = dict(model.named_modules())
    maps = [row for row in table.rows if len(row.output_shape) == 4]
    assert len(maps) > 60
    for row in maps[::7]:
        assert row.receptive_field == receptive_field(model, (1, 3, 32, 32), modules[row.path])
    assert all(row.receptive_field is None for row in table.rows if len(row.output_shape) != 4)
    lines = str(table).splitlines()
    assert any(line.split()[:4] == ["stage3:", "Sequential", "1×64×8×8", "81×81"] for line in lines)
    assert any(line.split()[:4] == ["pool:", "AdaptiveAvgPool2d", "1×64×1×1", "all"] for line in lines)


def test_transposed_convolution() -> None:
    table = summary(nn.ConvTranspose2d(3, 5, 4, stride=2, bias=False), (2, 3, 7, 7))
    assert table.multiply_adds == 2 * 49 * 3 * 5 * 16


def test_the_table_reads_well() -> None:
    table = summary(build("lenet", classes=10, channels=1), (1, 1, 28, 28))
    lines = str(table).splitlines()
    assert len({len(line) for line in lines[:-1]}) == 1
    assert lines[0].split() == ["layer", "output", "shape", "sees", "parameters", "multiply-adds"]
    assert any(line.startswith("    conv1: Conv2d ") and "1×6×28×28" in line for line in lines)
    assert lines[-1].startswith("61,706 parameters (61,706 trainable, 247 kB), 416,520 multiply-adds")
    assert len(table.table(depth=1).splitlines()) == 2 + 3 + 2


def test_importing_the_package_imports_no_torch() -> None:
    code = "import gradus.nn, gradus.vision, sys; dir(gradus.nn); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_name_the_package_offers_is_there() -> None:
    import gradus.nn

    assert sorted(gradus.nn.__all__) == dir(gradus.nn)
    for name in gradus.nn.__all__:
        assert getattr(gradus.nn, name).__name__ == name
