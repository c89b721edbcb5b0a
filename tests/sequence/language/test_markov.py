"""Markov chains against linear algebra: transition matrix, stationary distribution, entropy rate."""

import math

import numpy as np
import pytest
import torch

from gradus.errors import GradusError
from gradus.sequence.language.markov import MarkovChain


def drawn(matrix, length, seed=0):
    """Return a path through a chain."""
    generator = np.random.default_rng(seed)
    edges = np.cumsum(matrix, 1)
    path = [0]
    for u in generator.random(length - 1):
        path.append(int(np.searchsorted(edges[path[-1]], u)))
    return torch.tensor(path)


MATRIX = np.array([[0.5, 0.3, 0.2, 0.0], [0.1, 0.1, 0.8, 0.0], [0.0, 0.6, 0.0, 0.4], [1.0, 0.0, 0.0, 0.0]])


def stationary(matrix):
    values, vectors = np.linalg.eig(matrix.T)
    pi = np.real(vectors[:, np.argmax(np.real(values))])
    return pi / pi.sum()


@pytest.mark.parametrize("k", [0.0, 0.5])
def test_stationary_distribution_is_the_left_eigenvector(k):
    chain = MarkovChain(4, k=k).fit(drawn(MATRIX, 3000))
    counted = chain.chain.probabilities(torch.arange(4)[:, None])[0][:, 0].numpy()
    assert np.allclose(counted.sum(1), 1)
    pi = stationary(counted)
    assert np.allclose(chain.stationary.numpy(), pi, atol=1e-9)
    rows = -(counted * np.log(np.where(counted > 0, counted, 1))).sum(1)
    assert chain.entropy_rate() == pytest.approx(float(pi @ rows), abs=1e-9)


def test_maximum_likelihood_finds_the_chain_that_made_the_text():
    chain = MarkovChain(4, k=0.0).fit(drawn(MATRIX, 30_000))
    counted = chain.chain.probabilities(torch.arange(4)[:, None])[0][:, 0].numpy()
    assert np.abs(counted - MATRIX).max() < 0.02
    assert (counted[MATRIX == 0] == 0).all()
    assert np.abs(chain.stationary.numpy() - stationary(MATRIX)).max() < 0.01


def test_a_chain_with_a_period_settles_too():
    chain = MarkovChain(3, k=0.0).fit(torch.tensor([0, 1, 2] * 50 + [0]))
    assert np.allclose(chain.stationary.numpy(), 1 / 3)
    assert chain.entropy_rate() == pytest.approx(0.0, abs=1e-9)


def test_no_model_beats_the_entropy_rate_on_the_chains_own_text():
    chain = MarkovChain(4, k=0.0).fit(drawn(MATRIX, 50_000))
    path = drawn(MATRIX, 20_000, seed=1)
    found, _ = chain.log_probs(path[None, :-1], path[None, 1:])
    assert float(-found.mean()) == pytest.approx(chain.entropy_rate(), abs=0.02)


def test_what_was_never_seen_has_no_chance_without_smoothing():
    chain = MarkovChain(3, k=0.0).fit(torch.tensor([0, 1, 0, 1, 2, 0]))
    found, _ = chain.log_probs(torch.tensor([[0]]), torch.tensor([[2]]))
    assert math.isinf(float(found))


def test_a_single_token_is_no_transition():
    with pytest.raises(GradusError, match="two tokens"):
        MarkovChain(3).fit(torch.tensor([1]))
