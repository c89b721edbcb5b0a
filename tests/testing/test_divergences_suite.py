"""Every registered divergence keeps the contract, and the contract rejects divergences with planted bugs."""

from functools import partial

import pytest

from gradus import canon
from gradus.prob.bregman import GENERATORS, bregman_divergence
from gradus.prob.divergences import js, kl
from gradus.prob.fdivergence import FDIVERGENCES, f_divergence
from gradus.prob.wasserstein import wasserstein_on_grid
from gradus.testing.divergences import check_divergence

DIVERGENCES = sorted(id for id, entry in canon.scan().items() if entry.kind == "divergence")
LAWS = {
    "prob/js": {"symmetric": True, "processes": True},
    "prob/kl": {"processes": True},
    "prob/reverse-kl": {"processes": True},
    "prob/f-divergence": {"symmetric": True, "processes": True},
    "prob/wasserstein": {"symmetric": True, "triangle": True},
}
SYMMETRIC = {"js", "gan", "hellinger", "total-variation"}


def test_the_registry_knows_divergences():
    assert {"prob/kl", "prob/js", "prob/bregman", "prob/wasserstein", "prob/f-divergence"} <= set(DIVERGENCES)


@pytest.mark.parametrize("id", DIVERGENCES)
def test_contract(id):
    divergence = canon.load(canon.scan()[id])
    make = canon.example(id)
    check_divergence(make() if make else divergence, **LAWS.get(id, {}))


@pytest.mark.parametrize("name", FDIVERGENCES)
def test_every_f_divergence_processes_data(name):
    triangle = name == "total-variation"
    check_divergence(partial(f_divergence, name=name), symmetric=name in SYMMETRIC, processes=True, triangle=triangle)


@pytest.mark.parametrize("name", GENERATORS)
def test_every_bregman_divergence(name):
    check_divergence(partial(bregman_divergence, generator=name), symmetric=name == "squared-euclidean")


def test_roots_of_js_and_squared_hellinger_are_distances():
    check_divergence(lambda p, q: js(p, q).clamp_min(1e-30).sqrt() - 1e-15, symmetric=True, triangle=True)


def _unnormalised(p, q):
    return (p * (p / q).log()).sum(-1) + 0.01


def _writes(p, q):
    p.mul_(1.0001)
    return kl(p, q)


def _sums_the_batch(p, q):
    return kl(p, q).sum()


def _clips(p, q):
    return kl(p, q).clamp_min(0.3)


def _detached(p, q):
    return kl(p, q) + js(p, q).detach()


def _single(p, q):
    return kl(p, q).float()


def _no_broadcast(p, q):
    return kl(p, q.expand_as(p) if q.dim() == p.dim() else q.repeat(p.shape[0], 1)[: p.shape[0]].unsqueeze(1))


TWINS = {
    "an offset": (_unnormalised, {}, "not zero"),
    "writes into its input": (_writes, {}, "input was changed"),
    "sums the batch": (_sums_the_batch, {}, "gave shape"),
    "is clipped": (_clips, {}, "not zero"),
    "cross-entropy": (lambda p, q: -(p * q.log()).sum(-1), {}, "not zero"),
    "negative": (lambda p, q: -kl(p, q), {}, "not positive"),
    "a part without graph": (_detached, {}, "not that of finite differences"),
    "always single": (_single, {}, "gave a divergence of torch.float32"),
    "does not broadcast": (_no_broadcast, {}, "broadcast"),
    "KL said symmetric": (kl, {"symmetric": True}, "not symmetric"),
    "JS said a distance": (js, {"triangle": True}, "triangle"),
    "W1 said to process data": (
        lambda p, q: wasserstein_on_grid(p, q),
        {"processes": True},
        "adds information",
    ),
    "squares said to process data": (lambda p, q: ((p - q) ** 2).sum(-1), {"processes": True}, "adds information"),
}


@pytest.mark.parametrize("bug", TWINS)
def test_planted_bugs_are_rejected(bug):
    divergence, claims, said = TWINS[bug]
    with pytest.raises(AssertionError, match=said):
        check_divergence(divergence, **claims)
