"""A planted bug for the harness: a GAN whose checkpoints leave out one optimiser's state."""

from gradus.engine import Run, State, collect, restore
from strangers import gan
from strangers.driving import drive


class Forgetful(gan.GAN):
    """Comes back with a fresh optimiser of the discriminator."""

    def state_dict(self) -> State:
        return collect(**self.kept())

    def load_state_dict(self, state: State) -> None:
        restore(state, **self.kept())

    def kept(self) -> dict:
        return {name: part for name, part in self._parts().items() if name != "update_discriminator"}


def make(run: Run) -> tuple:
    return Forgetful(run), gan.make(run)[1]


if __name__ == "__main__":
    drive(make, 100)
