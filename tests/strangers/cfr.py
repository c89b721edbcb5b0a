"""Counterfactual regret minimisation on Kuhn poker: the state is two tables, and there is no Updater at all.

    R(I, a) += Σ_{h∈I} π_{−i}(h) (u_i(ha) − u_i(h)),      σ(I, a) ∝ max(R(I, a), 0)

One step is one iteration: both players in turn. All deals are swept at once: a value is an array over the deals, and an
information set is a history together with the card that the player to move holds. The average of the strategies, each
weighted by its own player's reach, tends to an equilibrium, whose value is −1/18 for the player who moves first.

References:
    Zinkevich et al. 2007, Regret minimization in games with incomplete information.
    Kuhn 1950, A simplified two-person poker.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations

import numpy as np

from gradus.engine import Evaluate, History, Run, State
from gradus.engine.learner import Watcher

from .driving import drive

__all__ = ["CFR", "Deals", "main", "make", "watch"]

DECISIONS = {"": 0, "p": 1, "b": 2, "pb": 3}
# What a showdown is worth to whoever has the higher card, and what a fold is worth to the first player.
SHOWDOWNS = {"pp": 1.0, "bb": 2.0, "pbb": 2.0}
FOLDS = {"bp": 1.0, "pbp": -1.0}


class Deals:
    """The source: all equally likely deals (deals, 2) of three cards to two players, again and again."""

    cards = np.array(list(permutations(range(3), 2)))

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        return self.cards

    def state_dict(self) -> State:
        """Return nothing: every batch is the same."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Take nothing."""


class CFR:
    """The learner: tables over (history, card, action) of regrets and of summed strategies."""

    def __init__(self) -> None:
        self.regrets = np.zeros((len(DECISIONS), 3, 2))
        self.strategies = np.zeros((len(DECISIONS), 3, 2))

    def __repr__(self) -> str:
        return f"CFR({self.regrets.size} regrets)"

    def step(self, batch: np.ndarray) -> dict[str, float]:
        """Make one iteration, with alternating updates; returns what the present strategies are worth to the first."""
        value = np.zeros(())
        for player in (0, 1):
            current = normalised(np.maximum(self.regrets, 0))
            value = self._sweep(batch, current, player, "", np.ones((2, len(batch))))
        return {"value": float(value.mean())}

    def _sweep(self, cards: np.ndarray, policy: np.ndarray, player: int, history: str, reach: np.ndarray) -> np.ndarray:
        """Return each deal's value to the first player, adding one player's regrets and strategies on the way."""
        if history not in DECISIONS:
            return payoff(cards, history)
        mover, row = len(history) % 2, DECISIONS[history]
        held = cards[:, mover]
        chances = policy[row, held]
        values = np.empty_like(chances)
        for action, letter in enumerate("pb"):
            further = reach.copy()
            further[mover] *= chances[:, action]
            values[:, action] = self._sweep(cards, policy, player, history + letter, further)
        value = (chances * values).sum(1)
        if mover == player:
            gain = (values - value[:, None]) * (1 - 2 * player)
            np.add.at(self.regrets[row], held, gain * reach[1 - player, :, None] / len(cards))
            np.add.at(self.strategies[row], held, chances * reach[player, :, None])
        return value

    def average(self) -> np.ndarray:
        """Return the average strategy: the probability of each action by history and card."""
        return normalised(self.strategies)

    def value(self, cards: np.ndarray = Deals.cards) -> float:
        """Return the game's value to the first player under the average strategy."""
        policy = self.average()

        def expected(history: str) -> np.ndarray:
            if history not in DECISIONS:
                return payoff(cards, history)
            chances = policy[DECISIONS[history], cards[:, len(history) % 2]]
            return chances[:, 0] * expected(history + "p") + chances[:, 1] * expected(history + "b")

        return float(expected("").mean())

    def nash_conv(self, cards: np.ndarray = Deals.cards) -> float:
        """Return what both players together would gain by answering the average strategy best."""
        policy = self.average()

        def best(player: int, history: str, reach: np.ndarray) -> np.ndarray:
            if history not in DECISIONS:
                return payoff(cards, history) * (1 - 2 * player)
            mover = len(history) % 2
            held = cards[:, mover]
            if mover != player:
                chances = policy[DECISIONS[history], held]
                return sum(chances[:, a] * best(player, history + c, reach * chances[:, a]) for a, c in enumerate("pb"))
            values = np.stack([best(player, history + letter, reach) for letter in "pb"], 1)
            totals = np.zeros((3, 2))
            np.add.at(totals, held, values * reach[:, None])
            return values[np.arange(len(cards)), totals.argmax(1)[held]]

        return float(sum(best(player, "", np.ones(len(cards))).mean() for player in (0, 1)))

    def state_dict(self) -> State:
        """Return both tables."""
        return {"regrets": self.regrets, "strategies": self.strategies}

    def load_state_dict(self, state: State) -> None:
        """Put both back in place."""
        self.regrets[:], self.strategies[:] = state["regrets"], state["strategies"]


def normalised(weights: np.ndarray) -> np.ndarray:
    """Return weights as probabilities over the last axis; uniform where all are zero."""
    total = weights.sum(-1, keepdims=True)
    return np.where(total > 0, weights / np.where(total > 0, total, 1), 1 / weights.shape[-1])


def payoff(cards: np.ndarray, history: str) -> np.ndarray:
    """Return what each deal (deals, 2) pays the first player at a terminal history."""
    if history in FOLDS:
        return np.full(len(cards), FOLDS[history])
    return SHOWDOWNS[history] * np.sign(cards[:, 0] - cards[:, 1])


def make(run: Run) -> tuple[CFR, Deals]:
    """Return the learner and its source."""
    return CFR(), Deals()


def watch(run: Run, learner: CFR) -> list[Watcher]:
    """Return a watcher that measures how far from an equilibrium the average strategy is."""

    def measure() -> Mapping[str, float]:
        return {"game/nash_conv": learner.nash_conv(), "game/value": learner.value()}

    return [Evaluate(run, measure, every_steps=100)]


def main(argv: Sequence[str] | None = None) -> History:
    """Train in a run folder."""
    return drive(make, 1000, watch=watch, argv=argv)


if __name__ == "__main__":
    main()
