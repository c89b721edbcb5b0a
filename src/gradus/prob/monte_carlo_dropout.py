"""Monte Carlo dropout: a network with its dropout left on is a sample of networks, and their spread is uncertainty.

    regression       E[y] ≈ (1/T) Σ f_t(x),    Var[y] ≈ τ⁻¹ + (1/T) Σ f_t(x)² − E[y]²
    classification   p̄ = (1/T) Σ softmax f_t(x),    H[p̄]  =  (1/T) Σ H[p_t]  +  I
                     total uncertainty = expected entropy (the data's) + mutual information (the model's)

Dropout alone is switched on; batch normalisation and everything else stays as in evaluation.

References:
    Gal and Ghahramani 2016, Dropout as a Bayesian approximation: representing model uncertainty in deep learning.
    Houlsby et al. 2011, Bayesian active learning for classification and preference learning (mutual information).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.prob.program import seeded

__all__ = ["ClassUncertainty", "Moments", "class_uncertainty", "dropout_on", "dropout_samples", "predictive_moments"]


class Moments(NamedTuple):
    """A predictive distribution's first two moments.

    Attributes:
        mean: of the target.
        variance: of the target, noise included.
    """

    mean: Float[Tensor, "*out"]
    variance: Float[Tensor, "*out"]


class ClassUncertainty(NamedTuple):
    """What an ensemble of classifiers says, in nats.

    Attributes:
        probabilities: the mean of the members'.
        entropy: of the mean, the total uncertainty.
        expected_entropy: mean of the members' entropies, which more data of the same kind leaves.
        mutual_information: their difference, which is the members' disagreement.
    """

    probabilities: Float[Tensor, "*batch classes"]
    entropy: Float[Tensor, "*batch"]
    expected_entropy: Float[Tensor, "*batch"]
    mutual_information: Float[Tensor, "*batch"]


def _drops(module: nn.Module) -> bool:
    if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
        return module.dropout > 0
    return isinstance(module, _DropoutNd) and module.p > 0


@contextmanager
def dropout_on(module: nn.Module) -> Iterator[nn.Module]:
    """Put a module in evaluation with its dropout on; every part gets its own mode back afterwards.

    Args:
        module: with nn.Dropout of any kind inside, or torch's recurrent and attention layers that drop by themselves.

    Raises:
        GradusError: for a module that drops nothing, whose samples would all be alike.
    """
    if not any(_drops(part) for part in module.modules()):
        raise GradusError(
            f"{type(module).__name__} has no dropout to leave on; build it with nn.Dropout layers of p > 0, or use an "
            "ensemble of networks"
        )
    modes = [(part, part.training) for part in module.modules()]
    try:
        for part, _ in modes:
            part.training = _drops(part)
        yield module
    finally:
        for part, training in modes:
            part.training = training


def _least_squares(x: Tensor, y: Tensor) -> Callable[[Tensor], Moments]:
    """A fitted example: dropout before a linear layer of least squares, with the noise that was left."""
    linear = nn.Linear(x.shape[1], 1, bias=False, dtype=x.dtype)
    with torch.no_grad():
        linear.weight.copy_(torch.linalg.lstsq(x, y.unsqueeze(1)).solution.mT)
        noise = (linear(x).squeeze(1) - y).var()
    network = nn.Sequential(nn.Dropout(0.05), linear)

    def predict(new: Tensor) -> Moments:
        samples = dropout_samples(network, new, 2000, torch.Generator().manual_seed(0))
        return predictive_moments(samples.squeeze(-1), noise)

    return predict


@canon(
    "prob/mc-dropout",
    kind="uncertainty",
    paper="Gal and Ghahramani 2016, Dropout as a Bayesian approximation",
    names=("mc-dropout", "dropout"),
    example=lambda: _least_squares,
)
def dropout_samples(
    module: nn.Module,
    x: Float[Tensor, "batch *features"],
    draws: int = 50,
    generator: torch.Generator | None = None,
    *,
    at_once: int | None = None,
) -> Float[Tensor, "draws batch *out"]:
    """Return outputs of the network under draws of its dropout.

    The batch is repeated, so that many draws are one pass; every row and draw has a mask of its own.

    Args:
        module: from a batch to a batch; it is left as it was, its running statistics too.
        x: the inputs.
        draws: T.
        generator: the dice.
        at_once: draws in one pass, to bound the memory; all of them when left out.

    Raises:
        GradusError: for less than one draw, or a module without dropout.
    """
    if draws < 1 or (at_once is not None and at_once < 1):
        raise GradusError(f"draws={draws} and at_once={at_once} must be at least 1")
    found = []
    with torch.no_grad(), dropout_on(module), seeded(generator):
        for size in torch.full((draws,), 1).split(draws if at_once is None else at_once):
            repeated = x.repeat(len(size), *[1] * (x.dim() - 1))
            out: Tensor = module(repeated)
            found.append(out.unflatten(0, (len(size), len(x))))
    return torch.cat(found)


def predictive_moments(samples: Float[Tensor, "draws *out"], noise_variance: float | Tensor = 0.0) -> Moments:
    """Return the predictive mean and variance of a regression.

    Args:
        samples: outputs of an ensemble, or of `dropout_samples`.
        noise_variance: τ⁻¹, of the target around the network; from validation data.

    Raises:
        GradusError: for a negative noise.
    """
    if bool((torch.as_tensor(noise_variance) < 0).any()):
        raise GradusError("noise_variance is negative; give the variance of the targets around the network")
    return Moments(samples.mean(0), samples.var(0, correction=0) + noise_variance)


def class_uncertainty(logits: Float[Tensor, "draws *batch classes"]) -> ClassUncertainty:
    """Return the mean probabilities of an ensemble of classifiers, and its uncertainty with its two parts.

    Args:
        logits: of the members, or of `dropout_samples`.
    """
    log_p = logits.log_softmax(-1)
    mean = log_p.exp().mean(0)
    total, expected = torch.special.entr(mean).sum(-1), torch.special.entr(log_p.exp()).sum(-1).mean(0)
    # Not below zero by Jensen's inequality; rounding may bring it there.
    return ClassUncertainty(mean, total, expected, (total - expected).clamp_min(0))
