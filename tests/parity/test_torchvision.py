"""Our architectures against torchvision's: the same random weights give the same numbers, in float64 to 1e-10."""

from collections.abc import Iterator

import pytest
import torch

from gradus.vision.models import build, load_pretrained, torchvision_names
from gradus.vision.pretrained import AVAILABLE
from parity.random_weights import count, random_state, twins

torchvision = pytest.importorskip("torchvision.models")

# Published (torchvision's own table) at 1000 classes and 224 pixels.
PUBLISHED = {
    "alexnet": 61_100_840,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "googlenet": 13_004_888,
    "vit_b": 86_567_656,
}
SETTINGS = {"googlenet": {"auxiliary": False}, "vit_b": {"image_size": 64, "patch": 16}}
SIZES = {"alexnet": (64, 80), "vit_b": (64, 64)}
NARROW = 64
GRADIENTS = ("alexnet", "resnet18", "densenet121", "vit_b")


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def peer(name: str, **settings: object) -> torch.nn.Module:
    if name == "googlenet":
        settings = {"init_weights": False, "aux_logits": False, **settings}
    if name == "vit_b":
        settings = {"image_size": 64, **settings}
    return getattr(torchvision, AVAILABLE[name])(weights=None, **settings)


def narrow_peer(name: str) -> torch.nn.Module:
    """Return the peer; most of VGG's weights are in its head, which for all but one is narrowed to save a minute."""
    model = peer(name, num_classes=10)
    if name.startswith("vgg") and name != "vgg16":
        for i, (inputs, outputs) in {0: (512 * 7 * 7, NARROW), 3: (NARROW, NARROW), 6: (NARROW, 10)}.items():
            model.classifier[i] = torch.nn.Linear(inputs, outputs)
    return model


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_equal_the_published(name: str) -> None:
    with torch.device("meta"):
        assert count(build(name, classes=1000)) == PUBLISHED[name]


def test_every_shared_architecture_is_compared() -> None:
    assert set(AVAILABLE) == set(PUBLISHED)


@pytest.mark.parametrize("name", AVAILABLE)
def test_same_weights_same_logits(name: str) -> None:
    settings = {"hidden": NARROW} if name.startswith("vgg") and name != "vgg16" else SETTINGS.get(name, {})
    reference, ours = twins(lambda: narrow_peer(name), name, **settings)
    x = torch.rand(2, 3, *SIZES.get(name, (32, 48)), dtype=torch.float64, requires_grad=name in GRADIENTS)
    with torch.set_grad_enabled(x.requires_grad):
        expected, actual = reference(x), ours(x)
    # A comparison of vanished or exploded numbers would show nothing.
    assert 1e-2 < expected.detach().std() < 1e2
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)
    if x.requires_grad:
        weights = torch.randn_like(expected)
        theirs_gradient, our_gradient = (torch.autograd.grad((y * weights).sum(), x)[0] for y in (expected, actual))
        torch.testing.assert_close(our_gradient, theirs_gradient, rtol=1e-9, atol=1e-10)


def test_auxiliary_heads_of_googlenet() -> None:
    theirs = {"num_classes": 10, "aux_logits": True, "dropout": 0.0, "dropout_aux": 0.0}
    ours = {"dropout": 0.0, "auxiliary_dropout": 0.0}
    reference, model = twins(lambda: peer("googlenet", **theirs), "googlenet", **ours)
    x = torch.rand(2, 3, 48, 64, dtype=torch.float64)
    expected = reference.train()(x)
    outputs = model.train().training_outputs(x)
    assert [weight for weight, _ in outputs] == [1.0, 0.3, 0.3]
    for (_, actual), logits in zip(outputs, (expected.logits, expected.aux_logits1, expected.aux_logits2), strict=True):
        torch.testing.assert_close(actual, logits, rtol=0, atol=1e-9)
    torch.testing.assert_close(model.eval()(x), reference.eval()(x), rtol=0, atol=1e-10)


def test_loading_by_name_and_a_fresh_head() -> None:
    reference = peer("resnet18", num_classes=7).double()
    reference.load_state_dict(random_state(reference))
    same = build("resnet18", classes=7).double()
    assert load_pretrained(same, "resnet18", reference.state_dict()) == []
    x = torch.rand(2, 3, 48, 48, dtype=torch.float64)
    torch.testing.assert_close(same.eval()(x), reference.eval()(x), rtol=0, atol=1e-10)

    other = build("resnet18", classes=3).double()
    head = other.head.linear.weight.clone()
    assert load_pretrained(other, "resnet18", reference.state_dict()) == ["head.linear.weight", "head.linear.bias"]
    assert torch.equal(other.head.linear.weight, head)
    torch.testing.assert_close(other.eval().trunk(x), same.trunk(x))


def test_auxiliary_heads_may_be_missing_on_either_side() -> None:
    state = random_state(peer("googlenet", num_classes=10, aux_logits=True))
    without = build("googlenet", classes=10, auxiliary=False)
    assert load_pretrained(without, "googlenet", state) == []
    bare = {key: value for key, value in state.items() if not key.startswith("aux")}
    model = build("googlenet", classes=10)
    fresh = load_pretrained(model, "googlenet", bare)
    counters = {key for key in model.state_dict() if key.endswith("num_batches_tracked")}
    assert set(fresh) == {key for key in model.state_dict() if key.startswith("auxiliary.")} - counters
    outputs = [key for key in model.state_dict() if ".linear." in key]
    assert len(outputs) == 6
    assert load_pretrained(build("googlenet", classes=3), "googlenet", state) == outputs
    x = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(model.eval()(x), without.eval()(x))


def test_positions_of_another_size_are_interpolated() -> None:
    state = random_state(peer("vit_b", num_classes=10))
    with torch.device("meta"):
        model = build("vit_b", classes=10, image_size=(64, 96), patch=16, depth=12)
    model = model.to_empty(device="cpu")
    assert load_pretrained(model, "vit_b", state) == []
    assert model.trunk.positions.shape == (1, 1 + 4 * 6, 768)
    torch.testing.assert_close(model.trunk.positions[:, 0].double(), state["encoder.pos_embedding"][:, 0])


def test_older_weights_of_the_vision_transformer_load() -> None:
    """Weights from before torchvision 0.13 call the perceptron's layers linear_1 and linear_2."""
    with torch.device("meta"):
        state = peer("vit_b").state_dict()
    old = {key.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): value for key, value in state.items()}
    assert torchvision_names("vit_b", old).keys() == torchvision_names("vit_b", state).keys()
