"""A GAN on a ring of Gaussians: two networks, two Updaters, nothing frozen or toggled.

    L_D = E softplus(−D(x)) + E softplus(D(G(z))) + γ/2 E |∇_x D(x)|²,      L_G = E softplus(−D(G(z)))

The penalty is differentiated twice. Every Updater differentiates its own parameters only, so the discriminator's loss
leaves the generator alone although the graph runs through it.

References:
    Goodfellow et al. 2014, Generative adversarial nets.
    Mescheder, Geiger and Nowozin 2018, Which training methods for GANs do actually converge? (the penalty).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradus.data.sources import TensorSource
from gradus.engine import History, Run, State, Updater, collect, restore
from gradus.optim.adam import adam

from .driving import drive

__all__ = ["GAN", "coverage", "main", "make", "ring"]

MODES, RADIUS, SPREAD, LATENT = 8, 1.0, 0.1, 4


def ring(count: int, generator: torch.Generator) -> Tensor:
    """Return points (count, 2) from equally weighted Gaussians whose means stand on a circle."""
    angles = torch.randint(MODES, (count,), generator=generator) * (2 * math.pi / MODES)
    means = RADIUS * torch.stack([angles.cos(), angles.sin()], 1)
    return means + SPREAD * torch.randn(count, 2, generator=generator)


def coverage(points: Tensor, within: float = 3.0) -> tuple[int, float]:
    """Return how many modes have at least half their share of the points, and the share of points near a mode."""
    angles = torch.arange(MODES) * (2 * math.pi / MODES)
    distance = torch.cdist(points, RADIUS * torch.stack([angles.cos(), angles.sin()], 1))
    near, nearest = distance.min(1)
    good = near < within * SPREAD
    counts = torch.bincount(nearest[good], minlength=MODES)
    return int((counts >= len(points) / MODES / 2).sum()), float(good.float().mean())


def layers(inputs: int, outputs: int, width: int = 64) -> nn.Sequential:
    """Return a perceptron with two hidden layers."""
    hidden = [nn.Linear(inputs, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2)]
    return nn.Sequential(*hidden, nn.Linear(width, outputs))


class GAN:
    """The learner: one update of the discriminator, then one of the generator."""

    def __init__(self, run: Run, penalty: float = 0.1) -> None:
        with run.stream("init"):
            self.generator = run.prepare(layers(LATENT, 2))
            self.discriminator = run.prepare(layers(2, 1))
        self.penalty = penalty
        self.update_generator = Updater(self.generator, adam(1e-3, betas=(0.0, 0.99)), ema=0.995)
        self.update_discriminator = Updater(self.discriminator, adam(2e-3, betas=(0.0, 0.99)))

    def __repr__(self) -> str:
        return f"GAN(generator={self.update_generator}, discriminator={self.update_discriminator})"

    def step(self, batch: Tensor) -> dict[str, Tensor]:
        """Make one round; returns both losses."""
        real = batch.requires_grad_()
        fake = self.generator(torch.randn(len(batch), LATENT))
        scores = self.discriminator(real)
        (slope,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
        judged = F.softplus(-scores).mean() + F.softplus(self.discriminator(fake.detach())).mean()
        blame = self.update_discriminator(judged + self.penalty / 2 * slope.square().sum(1).mean())
        praise = self.update_generator(F.softplus(-self.discriminator(fake)).mean())
        return {"discriminator_loss": blame.loss, "generator_loss": praise.loss}

    def sample(self, count: int) -> Tensor:
        """Return points (count, 2) from the averaged generator."""
        assert self.update_generator.ema is not None
        with torch.no_grad(), self.update_generator.ema.swap():
            return self.generator(torch.randn(count, LATENT))

    def state_dict(self) -> State:
        """Return both networks' and both Updaters' states."""
        return collect(**self._parts())

    def load_state_dict(self, state: State) -> None:
        """Put them back in place."""
        restore(state, **self._parts())

    def _parts(self) -> dict:
        return {
            "generator": self.generator, "update_generator": self.update_generator,
            "discriminator": self.discriminator, "update_discriminator": self.update_discriminator,
        }  # fmt: skip


def make(run: Run) -> tuple[GAN, TensorSource]:
    """Return the learner and its source."""
    points = ring(4096, run.generator("points"))
    return GAN(run), TensorSource(points, batch_size=256, seed=run.streams.derive("data"))


def main(argv: Sequence[str] | None = None) -> History:
    """Train in a run folder."""
    return drive(make, 800, argv=argv)


if __name__ == "__main__":
    main()
