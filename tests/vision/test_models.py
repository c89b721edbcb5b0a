"""Every registered architecture keeps the contract of a classifier; and what is particular to each family."""

import pytest
import torch
from torch import Tensor, nn

from gradus import canon
from gradus.errors import GradusError
from gradus.nn.residual import BASIC, BOTTLENECK, residual
from gradus.nn.summary import run_on_meta
from gradus.testing.classifiers import check_classifier
from gradus.vision import models, pretrained
from gradus.vision.models import build, families, load_pretrained, torchvision_names

ENTRIES = {id: entry for id, entry in canon.scan().items() if entry.kind == "classifier"}
NAMES = sorted(name for names in families().values() for name in names)


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def on_meta(name: str, **settings: object) -> nn.Module:
    with torch.device("meta"):
        return build(name, **{"classes": 10, **settings})


@pytest.mark.parametrize("id", ENTRIES)
def test_contract(id: str) -> None:
    builder = canon.load(ENTRIES[id])
    check_classifier(canon.example(id) or builder, name=id, documented=builder)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_builds_and_runs_at_its_minimum(name: str) -> None:
    model = on_meta(name, classes=7, channels=2)
    assert run_on_meta(model.eval(), (2, 2, model.minimum_size, model.minimum_size + 20)).shape == (2, 7)


# Counted by their papers, or exactly from them; torchvision's are in tests/parity.
@pytest.mark.parametrize(
    "name, settings, weights",
    [
        ("lenet", {"channels": 1}, 61_706),
        ("resnet20", {}, 269_722),
        ("resnet32", {}, 464_154),
        ("resnet44", {}, 658_586),
        ("resnet56", {}, 853_018),
        ("resnet110", {}, 1_727_962),
        ("seresnet50", {"classes": 1000}, 28_088_024),
        ("separable", {"classes": 1000}, 4_231_976),
        ("vit_ti", {"classes": 1000}, 5_717_416),
        ("vit_s", {"classes": 1000}, 22_050_664),
        ("googlenet", {"classes": 1000, "auxiliary": False}, 6_624_904),
    ],
)
def test_parameters_equal_the_published(name: str, settings: dict[str, object], weights: int) -> None:
    assert count(on_meta(name, **settings)) == weights


def test_names_forgive_case_and_hyphens_and_suggest_the_nearest() -> None:
    assert count(on_meta("VGG11-BN")) == count(on_meta("vgg11_bn"))
    with pytest.raises(GradusError, match="did you mean 'resnet20'"):
        build("resnt20", classes=10)


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"dropot": 0.1}, "did you mean 'dropout'"),
        ({"classes": 0}, "classes must be 1 at least, not 0"),
        ({"channels": -1}, "channels must be"),
        ({"image_size": (32, 0)}, "image_size must be"),
        ({"shortcut": "C"}, "shortcut is"),
        ({"norm": "bach"}, "did you mean 'batch'"),
    ],
)
def test_mistakes_are_told_in_a_sentence(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(GradusError, match=sentence):
        build("resnet20", **{"classes": 10, **settings})


class TestResNet:
    @pytest.mark.parametrize("plan", [BASIC, BOTTLENECK])
    @pytest.mark.parametrize("preactivated", [False, True])
    def test_zero_start_is_the_identity(self, plan: tuple[tuple[int, int], ...], preactivated: bool) -> None:
        name = "resnet18" if plan is BASIC else "resnet50"
        model = build(name + "v2" * preactivated, classes=2, small_stem=True, zero_init=True)
        block = model.trunk.stage2[1].eval()
        x = torch.rand(2, block.branch.conv1.in_channels, 4, 4)
        assert torch.equal(block(x), x)

    def test_shortcut_a_is_the_subsampled_input_with_empty_channels(self) -> None:
        block = residual(4, 8, BASIC, stride=2, shortcut="A")
        x = torch.rand(2, 4, 6, 6)
        y = block.shortcut(x)
        assert torch.equal(y[:, :4], x[:, :, ::2, ::2])
        assert not y[:, 4:].any()
        assert count(on_meta("resnet20", shortcut="B")) == count(on_meta("resnet20")) + (16 * 32 + 64) + (32 * 64 + 128)

    def test_depth_is_the_number_of_weighted_layers(self) -> None:
        for name in (
            "resnet18",
            "resnet34",
            "resnet50",
            "resnet101",
            "resnet152",
            "resnet20",
            "resnet110",
            "resnet56v2",
        ):
            layers = [m for path, m in on_meta(name).named_modules() if "shortcut" not in path]
            assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in layers) == int(name[6:].removesuffix("v2"))

    def test_other_normalisations_make_training_a_function_of_each_image(self) -> None:
        model = build("resnet20", classes=3, channels=1, norm="group").double().train()
        x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
        torch.testing.assert_close(model(x)[:1], model(x[:1]))


class TestViT:
    def test_patches_are_chosen_for_small_images(self) -> None:
        chosen = {size: on_meta("vit_ti", image_size=size).trunk.patch for size in (224, 96, 64, 32, 28, 8)}
        assert chosen == {224: 16, 96: 8, 64: 8, 32: 4, 28: 4, 8: 1}

    def test_without_positions_patches_may_change_places(self) -> None:
        model = build("vit_ti", classes=3, image_size=32, patch=8, depth=2).double().eval()
        model.trunk.positions.data.zero_()
        x = torch.rand(1, 3, 32, 32, dtype=torch.float64)
        swapped = x.unflatten(3, (4, 8)).flip(3).flatten(3)
        torch.testing.assert_close(model(swapped), model(x), rtol=0, atol=1e-10)
        torch.nn.init.normal_(model.trunk.positions)
        assert (model(swapped) - model(x)).abs().max() > 1e-6

    def test_the_border_of_an_undivided_image_is_seen(self) -> None:
        model = build("vit_ti", classes=3, image_size=30, patch=8, depth=2)
        x = torch.rand(1, 3, 30, 30, requires_grad=True)
        (gradient,) = torch.autograd.grad(model(x).sum(), x)
        assert (gradient.abs().sum(1) > 0).all()


class TestGoogLeNet:
    def test_auxiliary_heads_are_for_training_only(self) -> None:
        model = build("googlenet", classes=4).eval()
        x = torch.rand(2, 3, 32, 32)
        weights, logits = zip(*model.training_outputs(x), strict=True)
        assert weights == (1.0, 0.3, 0.3)
        torch.testing.assert_close(logits[0], model(x))
        assert not hasattr(build("googlenet", classes=4, auxiliary=False), "training_outputs")

    def test_the_paper_has_kernels_of_five(self) -> None:
        kernel = on_meta("googlenet", large_kernel=5).trunk.inception3a.five.conv.conv.kernel_size
        assert kernel == (5, 5)


@pytest.mark.parametrize("activation, pool", [("tanh", "average"), ("relu", "max")])
def test_lenet_in_both_dresses(activation: str, pool: str) -> None:
    model = build("lenet", classes=10, channels=1, activation=activation, pool=pool)
    assert type(model.trunk.act1) is {"tanh": nn.Tanh, "relu": nn.ReLU}[activation]
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_the_first_maximum_and_its_rectifier_change_places_without_changing_a_bit() -> None:
    model = build("lenet", classes=10, channels=1).to(memory_format=torch.channels_last)
    images = torch.randn(16, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    trunk = model.trunk
    written = nn.Sequential(trunk.conv1, nn.ReLU(), nn.MaxPool2d(2), trunk.conv2, nn.ReLU(), nn.MaxPool2d(2))
    found = []
    for network in (model, nn.Sequential(written, model.head)):
        model.zero_grad(set_to_none=True)
        logits = network(images)
        nn.functional.cross_entropy(logits, torch.arange(16) % 10).backward()
        found.append([logits.detach(), *(p.grad for p in model.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize(
    "name", ["lenet", "resnet20", "resnet20v2", "vgg11", "vgg19_bn", "googlenet", "separable", "densenet121"]
)
def test_fresh_networks_neither_vanish_nor_explode(name: str) -> None:
    """He's variance keeps the last map within two orders of magnitude of the input."""
    torch.manual_seed(0)
    model = build(name, classes=10, **({"hidden": 32} if name.startswith("vgg") else {}))
    features: list[Tensor] = []
    model.feature_map.register_forward_hook(lambda module, inputs, output: features.append(output))
    model.train()(torch.randn(4, 3, 64, 64))
    rms = features[0].square().mean().sqrt().item()
    assert 0.01 < rms < 100


class TestPretrained:
    def test_grey_images_get_the_sum_over_colours(self) -> None:
        colour = build("resnet18", classes=5)
        grey = build("resnet18", classes=5, channels=1)
        load_pretrained(grey, "resnet18", _as_torchvision(colour))
        x = torch.rand(2, 1, 32, 32)
        torch.testing.assert_close(grey.eval()(x), colour.eval()(x.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)

    def test_the_wrong_weights_are_refused_and_nothing_is_touched(self) -> None:
        state = _as_torchvision(build("resnet18", classes=5))
        model = build("resnet34", classes=5)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        with pytest.raises(GradusError, match="lack"):
            load_pretrained(model, "resnet34", state)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        with pytest.raises(GradusError, match="not those of"):
            load_pretrained(build("resnet18", classes=5), "resnet18", {**state, "layer9.0.conv1.weight": torch.ones(1)})
        with pytest.raises(GradusError, match="build it alike"):
            load_pretrained(build("resnet18", classes=5, small_stem=True), "resnet18", state)

    def test_a_family_without_counterpart_says_so(self) -> None:
        with pytest.raises(GradusError, match="no counterpart"):
            torchvision_names("lenet", {})
        with pytest.raises(GradusError, match="no pretrained weights for 'lenet'"):
            pretrained.fetch("lenet")

    def test_offline_is_told(self, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
        pytest.importorskip("torchvision")
        monkeypatch.setenv("GRADUS_OFFLINE", "1")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        with pytest.raises(GradusError, match="GRADUS_OFFLINE"):
            pretrained.fetch("resnet18")

    def test_a_missing_torchvision_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import sys

        monkeypatch.setitem(sys.modules, "torchvision", None)
        monkeypatch.setitem(sys.modules, "torchvision.models", None)
        with pytest.raises(GradusError, match="gradus\\[pretrained\\]"):
            pretrained.fetch("resnet18")

    def test_fetched_weights_land_in_the_model(self, monkeypatch: pytest.MonkeyPatch) -> None:
        state = _as_torchvision(build("resnet18", classes=1000))
        monkeypatch.setattr(pretrained, "fetch", lambda name: state)
        model = pretrained.pretrained("resnet18", classes=3)
        assert torch.equal(model.trunk.stem.conv.weight, state["conv1.weight"])
        assert model.head.linear.out_features == 3


def _as_torchvision(model: nn.Module) -> dict[str, Tensor]:
    """Return a ResNet's state under torchvision's names, by inverting the mapping."""
    translate = {
        "trunk.stem.conv": "conv1",
        "trunk.stem.norm": "bn1",
        "trunk.stage": "layer",
        ".branch.": ".",
        ".norm1.": ".bn1.",
        ".norm2.": ".bn2.",
        ".shortcut.conv": ".downsample.0",
        ".shortcut.norm": ".downsample.1",
        "head.linear": "fc",
    }
    state = {}
    for key, value in model.state_dict().items():
        for ours, theirs in translate.items():
            key = key.replace(ours, theirs)
        state[key] = value
    assert models.torchvision_names("resnet18", state).keys() == model.state_dict().keys()
    return state
