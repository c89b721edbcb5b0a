"""Losses: what a wrong answer costs. Stable at any size of logit, in values and in gradients.

    squared       (y − t)²                                  Lp        |y − t|ᵖ
    Huber         ½ (y − t)²  within δ, δ |y − t| − ½ δ²  beyond
    logistic      log(1 + e⁻ᶻ),  z = ± the logit as the target is 1 or 0
    hinge         max(0, m − z)
    focal         σ(−z)^γ log(1 + e⁻ᶻ)                      less of what is already right
    cross-entropy log Σⱼ eˢʲ − s_y,  or −Σⱼ tⱼ log softmax(s)ⱼ for a distribution t
    label smoothing   cross-entropy with t = (1 − ε) onehot(y) + ε / K
    multi-class hinge Σ_{j≠y} max(0, m − s_y + sⱼ)ᵖ,  or the largest of the terms

Every loss is a function of predictions and targets. `reduction` is "none" for one number an entry (regression, binary)
or a sample (classes), "sum", or "mean", which with class weights divides by the weights of the samples.

References:
    Huber 1964, Robust estimation of a location parameter. Cortes, Vapnik 1995, Support-vector networks.
    Weston, Watkins 1999, Support vector machines for multi-class pattern recognition.
    Crammer, Singer 2001, On the algorithmic implementation of multiclass kernel-based vector machines.
    Szegedy et al. 2016, Rethinking the Inception architecture (label smoothing).
    Lin et al. 2017, Focal loss for dense object detection.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gradus import canon as registry
from gradus.canon import canon
from gradus.errors import GradusError, nearest

__all__ = [
    "binary_focal",
    "cross_entropy",
    "focal",
    "hinge",
    "huber",
    "label_smoothing",
    "logistic",
    "loss",
    "lp",
    "multiclass_hinge",
    "squared",
]

Reduction = Literal["none", "sum", "mean"]
Logits = Float[Tensor, "batch classes *positions"]
Labels = Int[Tensor, "..."]


def _reduce(values: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return values.mean()
    if reduction == "sum":
        return values.sum()
    if reduction == "none":
        return values
    raise GradusError(f"reduction is none, sum or mean, not {reduction!r}")


def _same_shape(prediction: Tensor, target: Tensor) -> None:
    # Without this, (n, 1) against (n,) would broadcast to all pairs and train on nonsense.
    if prediction.shape != target.shape:
        raise GradusError(
            f"the prediction has shape {tuple(prediction.shape)} and the target {tuple(target.shape)}; make them equal"
        )


def _same_places(logits: Tensor, labels: Tensor) -> None:
    if labels.shape != logits.shape[:1] + logits.shape[2:]:
        raise GradusError(
            f"logits of shape {tuple(logits.shape)} want one label for each of {tuple(logits.shape[:1])} and any "
            f"positions behind the classes, not {tuple(labels.shape)}"
        )


@canon("nn/squared", kind="loss", paper="Gauss 1809, Theoria motus", names=("squared", "mse"))
def squared(
    prediction: Float[Tensor, "*shape"], target: Float[Tensor, "..."], *, reduction: Reduction = "mean"
) -> Float[Tensor, "..."]:
    """Squared error: (y − t)².

    Args:
        prediction: y.
        target: t, in the shape of the prediction.
        reduction: none, sum or mean.

    Raises:
        GradusError: if the shapes differ.
    """
    _same_shape(prediction, target)
    return _reduce((prediction - target).square(), reduction)


@canon("nn/lp", kind="loss", paper="Boscovich 1757, De litteraria expeditione", names=("lp", "mae"))
def lp(
    prediction: Float[Tensor, "*shape"],
    target: Float[Tensor, "..."],
    *,
    p: float = 1.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Lᵖ error: |y − t|ᵖ.

    Args:
        prediction: y.
        target: t, in the shape of the prediction.
        p: exponent; 1 gives medians, 2 means.
        reduction: none, sum or mean.

    Raises:
        GradusError: if the shapes differ, or p is below one, where the gradient is infinite at the target.
    """
    if not p >= 1:
        raise GradusError(f"an Lp loss with p={p} has infinite gradients at its minimum; give p of at least 1")
    _same_shape(prediction, target)
    return _reduce((prediction - target).abs().pow(p), reduction)


@canon("nn/huber", kind="loss", paper="Huber 1964, Robust estimation of a location parameter")
def huber(
    prediction: Float[Tensor, "*shape"],
    target: Float[Tensor, "..."],
    *,
    delta: float = 1.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Squared near the target and linear far from it: ½ r² for |r| ≤ δ, δ (|r| − ½ δ) beyond.

    Args:
        prediction: y; r = y − t.
        target: t, in the shape of the prediction.
        delta: δ, where an error counts as an outlier.
        reduction: none, sum or mean.

    Raises:
        GradusError: if the shapes differ or δ is not positive.
    """
    if not delta > 0:
        raise GradusError(f"a Huber loss needs a positive delta, not {delta}")
    _same_shape(prediction, target)
    distance = (prediction - target).abs()
    near = distance.clamp(max=delta)
    # ½ a² + δ (r − a) with a = min(r, δ): one formula for both sides, so that no branch squares a huge residual.
    return _reduce(0.5 * near.square() + delta * (distance - near), reduction)


@canon("nn/logistic", kind="loss", paper="Cox 1958, The regression analysis of binary sequences", names=("logistic",))
def logistic(
    logit: Float[Tensor, "*shape"],
    target: Tensor,
    *,
    positive_weight: float = 1.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Binary cross-entropy of a logit: −w t log σ(x) − (1 − t) log σ(−x).

    Args:
        logit: x.
        target: t in [0, 1], in the shape of the logit; zeros and ones, or probabilities.
        positive_weight: w, how much more a positive sample counts.
        reduction: none, sum or mean, which divides by the number of entries.

    Raises:
        GradusError: if the shapes differ.
    """
    _same_shape(logit, target)
    t = target.to(logit.dtype)
    return _reduce(-positive_weight * t * F.logsigmoid(logit) - (1 - t) * F.logsigmoid(-logit), reduction)


@canon("nn/hinge", kind="loss", paper="Cortes and Vapnik 1995, Support-vector networks", names=("hinge",))
def hinge(
    logit: Float[Tensor, "*shape"],
    target: Tensor,
    *,
    margin: float = 1.0,
    p: int = 1,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Binary hinge loss: max(0, m − z)ᵖ with z = ± the score.

    Args:
        logit: the score of the positive class.
        target: positive above zero, negative otherwise (both 0/1 and ±1 are understood); in the score's shape.
        margin: m.
        p: 1, or 2 for the squared hinge.
        reduction: none, sum or mean.

    Raises:
        GradusError: if the shapes differ.
    """
    _same_shape(logit, target)
    z = torch.where(target > 0, logit, -logit)
    return _reduce((margin - z).clamp(min=0).pow(p), reduction)


@canon("nn/binary-focal", kind="loss", paper="Lin et al. 2017, Focal loss for dense object detection")
def binary_focal(
    logit: Float[Tensor, "*shape"],
    target: Tensor,
    *,
    gamma: float = 2.0,
    alpha: float | None = 0.25,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Focal loss of a logit: −a (1 − p)^γ log p, p the probability of the truth.

    Args:
        logit: x.
        target: t in [0, 1], in the shape of the logit.
        gamma: how strongly what is already right is discounted; 0 gives the logistic loss.
        alpha: share of the positive class, a = α for t = 1 and 1 − α for t = 0; `None` weighs both by one.
        reduction: none, sum or mean, which divides by the number of entries.

    Raises:
        GradusError: if the shapes differ or γ is negative.
    """
    _same_shape(logit, target)
    _check_gamma(gamma)
    t = target.to(logit.dtype)
    right, wrong = F.logsigmoid(logit), F.logsigmoid(-logit)
    # (1 − p)^γ as e^{γ log(1 − p)}: no power of zero, whose gradient would be infinite for γ < 1.
    positive, negative = -torch.exp(gamma * wrong) * right, -torch.exp(gamma * right) * wrong
    share = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    return _reduce(share[0] * t * positive + share[1] * (1 - t) * negative, reduction)


@canon("nn/cross-entropy", kind="loss", paper="Bridle 1990, Probabilistic interpretation of feedforward outputs")
def cross_entropy(
    logits: Logits,
    labels: Tensor,
    *,
    weight: Float[Tensor, " classes"] | None = None,
    smoothing: float = 0.0,
    ignore: int | None = None,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Cross-entropy of softmax: log Σⱼ eˢʲ − s_y.

    Args:
        logits: s, with any positions behind the classes.
        labels: y, the class numbers; or t, a distribution in the shape of the logits.
        weight: of each class; the mean then divides by the weights of the labels (of distributions, by the samples).
        smoothing: ε, the share of the target that is spread over all classes.
        ignore: a label, such as that of padding, that costs nothing and does not count in the mean.
        reduction: none, sum or mean.

    Raises:
        GradusError: if the shapes do not fit or the smoothing is outside [0, 1].
    """
    if not 0 <= smoothing <= 1:
        raise GradusError(f"smoothing={smoothing} is no share; give a number in [0, 1]")
    logs = torch.log_softmax(logits, 1)
    scale = None if weight is None else weight.to(logs.dtype).view(-1, *[1] * (logs.ndim - 2))
    if labels.is_floating_point():
        _same_shape(logits, labels)
        target = labels if smoothing == 0 else (1 - smoothing) * labels + smoothing / logits.shape[1]
        return _reduce(-(target * logs * (1 if scale is None else scale)).sum(1), reduction)
    _same_places(logits, labels)
    labels = labels.long()
    counted = None if ignore is None else labels != ignore
    # An ignored label may be no class at all.
    chosen = labels if counted is None else labels.masked_fill(~counted, 0)
    weighed = logs if scale is None else logs * scale
    values = -weighed.gather(1, chosen.unsqueeze(1)).squeeze(1)
    if smoothing:
        values = (1 - smoothing) * values - smoothing * weighed.mean(1)
    if counted is not None:
        values = values.masked_fill(~counted, 0.0)
    if reduction != "mean" or (weight is None and counted is None):
        return _reduce(values, reduction)
    shares = torch.ones_like(values) if weight is None else weight.to(logs.dtype)[chosen]
    return values.sum() / (shares if counted is None else shares * counted).sum()


@canon("nn/label-smoothing", kind="loss", paper="Szegedy et al. 2016, Rethinking the Inception architecture")
def label_smoothing(
    logits: Logits, labels: Tensor, *, smoothing: float = 0.1, reduction: Reduction = "mean"
) -> Float[Tensor, "..."]:
    """Cross-entropy against (1 − ε) onehot(y) + ε / K.

    Args:
        logits: s, with any positions behind the classes.
        labels: y, the class numbers; or a distribution in the shape of the logits.
        smoothing: ε.
        reduction: none, sum or mean.

    Raises:
        GradusError: as `cross_entropy`.
    """
    return cross_entropy(logits, labels, smoothing=smoothing, reduction=reduction)


@canon("nn/focal", kind="loss", paper="Lin et al. 2017, Focal loss for dense object detection", names=("focal",))
def focal(
    logits: Logits,
    labels: Labels,
    *,
    gamma: float = 2.0,
    weight: Float[Tensor, " classes"] | None = None,
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Focal loss of softmax: −a_y (1 − p_y)^γ log p_y.

    Args:
        logits: s, with any positions behind the classes, of which there are two at least.
        labels: y, the class numbers.
        gamma: how strongly what is already right is discounted; 0 gives cross-entropy.
        weight: a, of each class; one by default.
        reduction: none, sum or mean, which divides by the number of labels.

    Raises:
        GradusError: if the shapes do not fit, there is one class only, or γ is negative.

    Deviations:
        The paper's loss is binary (`binary_focal`); this is its usual form for many classes.
    """
    _check_gamma(gamma)
    _same_places(logits, labels)
    if logits.shape[1] < 2:
        raise GradusError("a focal loss over classes needs two of them; use binary_focal for one logit")
    chosen = labels.long().unsqueeze(1)
    logs = torch.log_softmax(logits, 1)
    # log(1 − p_y) from the other classes, because 1 − p_y itself would round to zero.
    others = torch.logsumexp(logs.scatter(1, chosen, -torch.inf), 1)
    values = -torch.exp(gamma * others) * logs.gather(1, chosen).squeeze(1)
    if weight is not None:
        values = values * weight.to(values.dtype)[labels.long()]
    return _reduce(values, reduction)


@canon("nn/multiclass-hinge", kind="loss", paper="Weston and Watkins 1999, Support vector machines for multi-class")
def multiclass_hinge(
    logits: Logits,
    labels: Labels,
    *,
    margin: float = 1.0,
    p: int = 1,
    form: Literal["sum", "largest"] = "sum",
    reduction: Reduction = "mean",
) -> Float[Tensor, "..."]:
    """Multi-class hinge loss: Σ_{j≠y} max(0, m − s_y + sⱼ)ᵖ (Weston–Watkins) or its largest term (Crammer–Singer).

    Args:
        logits: s, with any positions behind the classes.
        labels: y, the class numbers.
        margin: m.
        p: 1, or 2 for the squared hinge.
        form: sum, or largest.
        reduction: none, sum or mean.

    Raises:
        GradusError: if the shapes do not fit or the form is another.
    """
    if form not in ("sum", "largest"):
        raise GradusError(f"the form is sum or largest, not {form!r}")
    _same_places(logits, labels)
    chosen = labels.long().unsqueeze(1)
    terms = (margin - logits.gather(1, chosen) + logits).clamp(min=0).pow(p)
    terms = terms.scatter(1, chosen, 0.0)
    return _reduce(terms.sum(1) if form == "sum" else terms.amax(1), reduction)


def _check_gamma(gamma: float) -> None:
    if not gamma >= 0:
        raise GradusError(f"a focal loss needs gamma of at least zero, not {gamma}")


def loss(name: str, **settings: Any) -> Callable[..., Tensor]:
    """Return the loss that has a name, as a function of predictions and targets.

    Args:
        name: squared (mse), lp (mae), huber, logistic, hinge, binary_focal, cross_entropy, label_smoothing, focal or
            multiclass_hinge.
        settings: keywords of that loss to fill in.

    Raises:
        GradusError: for an unknown name or setting, with the nearest known one.
    """
    entry = registry.lookup("loss", name)
    known = list(entry.parameters)[2:]
    for setting in settings:
        if setting not in known:
            raise GradusError(f"loss {name!r} has no setting {setting!r}{nearest(setting, known)}")
    return partial(registry.load(entry), **settings)
