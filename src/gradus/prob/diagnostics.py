"""Have the chains converged, and what are their draws worth: R̂, effective sample size, Monte Carlo error.

    R̂ = √(V / W),    V = (n − 1)/n · W + B/n
    ρ_t = 1 − (W − mean over chains of c_t) / V,    ESS = M n / (1 + 2 Σ_t ρ_t),    MCSE = s / √ESS

W and B are the variances within and between M chains of n draws, c_t the autocovariance at lag t. Each chain is split
in two halves first, so that a drift shows as a difference. *Bulk* quantities are of rank-normalised draws, which makes
sense of heavy tails; the *tail* ESS is the smaller one of the events below the 5 % and the 95 % quantile. The sum
over lags is Geyer's: pairs of lags as long as they are positive, made monotone.

References:
    Vehtari et al. 2021, Rank-normalization, folding, and localization: an improved R̂.
    Geyer 1992, Practical Markov chain Monte Carlo. Gelman and Rubin 1992, Inference from iterative simulation.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.errors import GradusError

__all__ = ["autocovariance", "ess", "ess_bulk", "ess_tail", "mcse", "rank_normalised", "rhat"]

Draws = Float[Tensor, "draws chains *event"]


def _checked(draws: Tensor) -> Tensor:
    if len(draws) < 4:
        raise GradusError(f"{len(draws)} draws of a chain are too few to judge it by; make at least 4")
    return draws if draws.dtype == torch.float64 else draws.double()


def _split(draws: Tensor) -> Tensor:
    """Return the halves of the chains as chains of their own; of an odd number, the middle draw is left out."""
    half = len(draws) // 2
    return torch.cat([draws[:half], draws[-half:]], dim=1)


def rank_normalised(draws: Draws) -> Draws:
    """Return Φ⁻¹((r − 3/8) / (S + 1/4)) where r is a draw's rank among all S of its entry, ties sharing their mean.

    Args:
        draws: of any distribution.
    """
    flat = draws.flatten(0, 1).movedim(0, -1).contiguous()
    ordered = flat.sort(-1).values
    below = torch.searchsorted(ordered, flat, right=False)
    rank = (below + torch.searchsorted(ordered, flat, right=True) + 1).to(draws.dtype) / 2
    return torch.special.ndtri((rank - 0.375) / (flat.shape[-1] + 0.25)).movedim(-1, 0).view(draws.shape)


def _ratio(draws: Tensor) -> Tensor:
    """Return √(V / W)."""
    within = draws.var(0).mean(0)
    between = draws.mean(0).var(0)
    count = len(draws)
    return (((count - 1) / count * within + between) / within).sqrt()


def rhat(draws: Draws) -> Float[Tensor, "*event"]:
    """Return the split rank-normalised R̂, the larger one of the draws' and their distances to the median's.

    Near 1 the chains tell the same story in location and in spread; above 1.01 they should run longer.

    Args:
        draws: of at least one chain.
    """
    draws = _split(_checked(draws))
    folded = (draws - draws.flatten(0, 1).median(0).values).abs()
    return torch.maximum(_ratio(rank_normalised(draws)), _ratio(rank_normalised(folded)))


def autocovariance(draws: Draws) -> Draws:
    """Return c_t = 1/n Σ_i (x_i − x̄)(x_{i+t} − x̄) for each chain and every lag t, by a Fourier transform.

    Args:
        draws: a draw at a time along the first dimension.
    """
    return _of_power(_power(draws), len(draws))


def _power(draws: Tensor) -> Tensor:
    """Return the power spectrum of each chain, padded so that the end does not wrap around onto the beginning."""
    size = 1 << (2 * len(draws) - 1).bit_length()
    return torch.fft.rfft(draws - draws.mean(0), n=size, dim=0).abs().square()


def _of_power(power: Tensor, count: int) -> Tensor:
    return torch.fft.irfft(power, n=2 * (len(power) - 1), dim=0)[:count] / count


def _effective(draws: Tensor) -> Tensor:
    """Return the effective sample size of chains that are split already."""
    count, chains = draws.shape[:2]
    # The mean over chains is taken before the transform back, which is then one instead of one a chain.
    covariance = _of_power(_power(draws).mean(1), count)
    within = covariance[0] * count / (count - 1)
    between = draws.mean(0).var(0) if chains > 1 else torch.zeros_like(within)
    total = (count - 1) / count * within + between
    correlation = 1 - (within - covariance) / total
    correlation[0] = 1
    pairs = correlation[: count // 2 * 2].unflatten(0, (-1, 2)).sum(1)
    positive = (pairs > 0).cumprod(0)
    tau = 2 * (pairs.cummin(0).values * positive).sum(0) - 1
    # Antithetic chains are worth more than independent draws, but no estimate should be trusted beyond this.
    size = count * chains
    return torch.where(total > 0, size / tau.clamp_min(1 / math.log10(size)), torch.full_like(tau, math.nan))


def ess(draws: Draws) -> Float[Tensor, "*event"]:
    """Return how many independent draws would give the mean as well as these do; NaN for a constant.

    Args:
        draws: of at least one chain.
    """
    return _effective(_split(_checked(draws)))


def ess_bulk(draws: Draws) -> Float[Tensor, "*event"]:
    """Return the effective sample size of the rank-normalised draws: of where most of the distribution is.

    Args:
        draws: of at least one chain.
    """
    return _effective(rank_normalised(_split(_checked(draws))))


def ess_tail(draws: Draws, share: float = 0.05) -> Float[Tensor, "*event"]:
    """Return the smaller effective sample size of the two events of being below a low and a high quantile.

    Args:
        draws: of at least one chain.
        share: of the distribution in each tail.
    """
    draws = _checked(draws)
    ordered = draws.flatten(0, 1).sort(0).values
    found = []
    for level in (share, 1 - share):
        place = level * (len(ordered) - 1)
        low = ordered[math.floor(place)]
        quantile = low + (place % 1) * (ordered[math.ceil(place)] - low)
        found.append(_effective(_split((draws <= quantile).to(draws.dtype))))
    return torch.minimum(*found)


def mcse(draws: Draws) -> Float[Tensor, "*event"]:
    """Return the standard error of the draws' mean: s / √ESS.

    Args:
        draws: of at least one chain.
    """
    draws = _checked(draws)
    return draws.flatten(0, 1).std(0) / ess(draws).sqrt()
