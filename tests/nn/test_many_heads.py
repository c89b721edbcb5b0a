"""Several heads on one trunk predict the mean of their probabilities, and are trained apart."""

import pytest
import torch

from gradus.errors import GradusError
from gradus.nn.many_heads import ManyHeads
from gradus.vision.models import build


def heads(count=3):
    torch.manual_seed(0)
    return ManyHeads([build("lenet", classes=4, channels=1, image_size=28) for _ in range(count)])


def test_the_heads_predict_the_mean_of_their_probabilities():
    model = heads().eval()
    x = torch.randn(5, 1, 28, 28)
    each = torch.stack([logits.softmax(-1) for _, logits in model.training_outputs(x)])
    assert torch.allclose(model(x).exp(), each.mean(0), atol=1e-6)
    assert not torch.allclose(each[0], each[1])
    assert sum(share for share, _ in model.training_outputs(x)) == pytest.approx(1)


def test_a_head_learns_from_its_own_loss_and_the_trunk_from_all():
    model = heads()
    x, y = torch.randn(5, 1, 28, 28), torch.tensor([0, 1, 2, 3, 0])
    share, logits = model.training_outputs(x)[1]
    (share * torch.nn.functional.cross_entropy(logits, y)).backward()
    touched = {name.split(".")[2] for name, p in model.head.named_parameters(prefix="head") if p.grad is not None}
    assert touched == {"1"}
    assert all(p.grad is not None for p in model.trunk.parameters())


def test_an_architecture_with_heads_of_its_own_is_refused():
    with pytest.raises(GradusError, match="--heads"):
        ManyHeads([build("googlenet", classes=4, channels=3, image_size=64) for _ in range(2)])
