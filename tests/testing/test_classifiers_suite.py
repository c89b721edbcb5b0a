"""The classifier's contract accepts a sound model and rejects every planted bug, each for its own reason."""

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gradus.testing.classifiers import check_classifier


class Sound(nn.Module):
    """A small classifier with nothing wrong; the twins below each break one thing."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)
        self.trunk = nn.Sequential(self.conv, nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, classes))
        # Held by the trunk already.
        del self.conv
        self.minimum_size = 4

    @property
    def feature_map(self) -> nn.Module:
        return self.trunk

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))


def documented(name: str = "sound", *, classes: int = 10) -> None:
    """Return a sound model.

    Args:
        name: sound.
        classes: number of logits.
    """


def run(model: Callable[..., nn.Module]) -> None:
    check_classifier(lambda classes, channels, image_size: model(classes, channels), name="twin", documented=documented)


def test_a_sound_model_passes() -> None:
    run(Sound)


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    run(Sound)
    assert torch.equal(torch.get_rng_state(), before)


class UnusedParameter(Sound):
    def __init__(self, classes: int, channels: int) -> None:
        super().__init__(classes, channels)
        self.trunk.register_parameter("spare", nn.Parameter(torch.zeros(3)))


class BatchDependent(Sound):
    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits - 0.01 * logits.mean(0, keepdim=True)


class BlindToTheImage(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.zeros_like(x) + 0 * x)


class OneClassTooMany(Sound):
    def __init__(self, classes: int, channels: int) -> None:
        super().__init__(classes + 1, channels)


class ChangesItsInput(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.sub_(0.5))


class DropsInEvaluation(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(x), 0.5, training=True)


class LearnsInEvaluation(Sound):
    def __init__(self, classes: int, channels: int) -> None:
        super().__init__(classes, channels)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


class FixedToSinglePrecision(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).float()


class HoldsItsMapTwice(Sound):
    feature_map = None

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__(classes, channels)
        self.feature_map = self.trunk


class HidesState(Sound):
    def __init__(self, classes: int, channels: int) -> None:
        super().__init__(classes, channels)
        self.scale = torch.rand(1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.scale.to(x.dtype)


class DrawsElsewhere(Sound):
    def __init__(self, classes: int, channels: int) -> None:
        super().__init__(classes, channels)
        self.head[2].bias.data.fill_(random.random())


class MoreThanItsParts(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class MapBesideThePath(Sound):
    def __init__(self, classes: int, channels: int) -> None:
        super().__init__(classes, channels)
        self.trunk = nn.ModuleDict({"main": self.trunk})
        self.trunk.forward = self.trunk["main"].forward
        self.side = nn.Identity()

    @property
    def feature_map(self) -> nn.Module:
        return self.side

    def forward(self, x: Tensor) -> Tensor:
        self.side(x.clone().requires_grad_())
        return self.head(self.trunk(x))


class ReadsMemoryOrder(Sound):
    def forward(self, x: Tensor) -> Tensor:
        order = 1.0 if x.is_contiguous() else 1.1
        return super().forward(x * order)


class NoMinimum(Sound):
    def __init__(self, classes: int, channels: int) -> None:
        super().__init__(classes, channels)
        del self.minimum_size


class OverstatedReach(Sound):
    """Says that any size goes, and fails below four pixels."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__(classes, channels)
        self.minimum_size = 1
        self.trunk.append(nn.AvgPool2d(4))


class Nan(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / (x.shape[0] - 1)


@pytest.mark.parametrize(
    "twin, sentence",
    [
        (UnusedParameter, "no gradient reaches trunk.spare"),
        (BatchDependent, "depend on its neighbours"),
        (BlindToTheImage, "do not depend on the image"),
        (OneClassTooMany, r"logits are \(1, 3\)"),
        (ChangesItsInput, "changed in place"),
        (DropsInEvaluation, "the second time"),
        (LearnsInEvaluation, "calls changes in evaluation"),
        (FixedToSinglePrecision, "float64 in gives torch.float32"),
        (HoldsItsMapTwice, "one is there twice"),
        (HidesState, "the same state gives other logits"),
        (DrawsElsewhere, "the same seed gives other"),
        (MoreThanItsParts, r"forward is not head\(trunk\(x\)\)"),
        (MapBesideThePath, "do not depend on the feature map"),
        (ReadsMemoryOrder, "channels-last"),
        (NoMinimum, "minimum_size"),
        (Nan, "not finite"),
    ],
)
def test_a_planted_bug_is_found(twin: type[nn.Module], sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        run(twin)


def test_a_size_below_the_true_minimum_fails() -> None:
    with pytest.raises((AssertionError, RuntimeError)):
        run(OverstatedReach)


def test_an_undocumented_setting_is_found() -> None:
    def builder(name: str = "sound", *, width: int = 1) -> None:
        """Return a model.

        Args:
            name: sound.
        """

    with pytest.raises(AssertionError, match="does not tell of 'width'"):
        check_classifier(lambda **shape: Sound(1, 1), name="twin", documented=builder)
