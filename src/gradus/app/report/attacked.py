"""What an adversary leaves of a classifier: accuracy against ε, and a few images before and after."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.app.report.measure import Effort
from gradus.data.images import ImageSet
from gradus.errors import GradusError
from gradus.robust.curve import RobustCurve, robust_curve
from gradus.robust.projected_gradient import pgd

__all__ = ["BUDGETS", "Attacked", "Fooled", "attack_images", "spread_over_classes"]

BUDGETS = tuple(step / 255 for step in (0, 1, 2, 4, 8, 16, 32))
# Of the budgets above, most images fall early: this many passes each is what undefended networks take.
PASSES = 20
EXAMPLES = 3


class Fooled(NamedTuple):
    """One image that the model got right, and its neighbour that it gets wrong.

    Attributes:
        truth: class.
        guess: class of the neighbour.
        confidence: probability of the guess.
        image: in [0, 1].
        adversarial: in [0, 1] and within ε.
    """

    truth: int
    guess: int
    confidence: float
    image: Float[Tensor, "channels height width"]
    adversarial: Float[Tensor, "channels height width"]


class Attacked(NamedTuple):
    """A curve and some examples at one of its budgets."""

    curve: RobustCurve
    eps: float
    examples: list[Fooled]


def spread_over_classes(images: ImageSet, most: int) -> ImageSet:
    """Return at most `most` images, the classes in turn, so that a part stands for the whole."""
    order = torch.argsort(images.labels, stable=True)
    ranked = images.labels[order].contiguous()
    turn = torch.argsort(torch.arange(len(images)) - torch.searchsorted(ranked, ranked), stable=True)
    return images.take(order[turn][:most].sort().values)


def attack_images(product: Any, images: ImageSet, effort: Effort, most: int) -> Attacked:
    """Attack images with PGD at every budget.

    Args:
        product: gives differentiable `scores`.
        images: labelled.
        effort: what there is time for.
        most: images at the most.

    Raises:
        GradusError: if there is no image.
    """
    from gradus.nn.probe import frozen

    part = spread_over_classes(images, effort.images(PASSES, most))
    if not len(part):
        raise GradusError("there are no images to attack")
    with frozen(product.module):
        curve = robust_curve(product.scores, part.batches(effort.chunk, product.device), eps=BUDGETS)
        half = curve.accuracy[0] / 2
        eps = next((e for e, left in zip(curve.eps, curve.accuracy, strict=True) if left < half), BUDGETS[-1])
        return Attacked(curve, eps, _examples(product, part, eps, effort.chunk))


def _examples(product: Any, images: ImageSet, eps: float, chunk: int) -> list[Fooled]:
    """Return images that fall at a budget, of different classes where possible."""
    batch, labels = images.preview(min(chunk, 8 * EXAMPLES))
    batch, labels = batch.to(product.device), labels.to(product.device)
    adversarial = pgd(product.scores, batch, labels, eps=eps)
    with torch.inference_mode():
        before = product.scores(batch).argmax(1)
        sure, after = product.scores(adversarial).float().softmax(1).max(1)
    fell = ((before == labels) & (after != labels)).nonzero().squeeze(1)[:EXAMPLES].tolist()
    return [Fooled(int(labels[i]), int(after[i]), float(sure[i]), batch[i].cpu(), adversarial[i].cpu()) for i in fell]
