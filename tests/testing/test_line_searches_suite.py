"""Every registered line search keeps the contract, and the contract rejects line searches with planted bugs."""

import pytest

from gradus import canon
from gradus.optim.line_search import Probe, armijo, exact, wolfe
from gradus.testing.line_searches import check_line_search

SEARCHES = sorted(id for id, entry in canon.scan().items() if entry.kind == "line-search")


def test_the_registry_knows_line_searches():
    assert set(SEARCHES) >= {"optim/armijo", "optim/exact", "optim/wolfe"}


@pytest.mark.parametrize("id", SEARCHES)
def test_contract(id):
    check_line_search(canon.load(canon.scan()[id]))


def takes_the_first(ray, start, first=1.0, *, eps=0.0):
    return ray(first)


def tries_another_first(ray, start, first=1.0, *, eps=0.0):
    return wolfe(ray, start, 0.5 * first, eps=eps)


def makes_up_a_probe(ray, start, first=1.0, *, eps=0.0):
    found = wolfe(ray, start, first, eps=eps)
    return found and Probe(found.step, found.value, found.slope)


def stays(ray, start, first=1.0, *, eps=0.0):
    ray(first)
    return start


def tries_backwards(ray, start, first=1.0, *, eps=0.0):
    return armijo(ray, start, first, eps=eps) or ray(-first)


def has_units_of_t(ray, start, first=1.0, *, eps=0.0):
    found = armijo(ray, start, first, eps=eps)
    return found if found is None or found.step > 0.1 else ray(found.step / 2)


def has_units_of_value(ray, start, first=1.0, *, eps=0.0):
    found = armijo(ray, start, first, eps=eps)
    return found if found is None or start.value - found.value > 1e3 else ray(found.step / 2)


def never_gives_up(ray, start, first=1.0, *, eps=0.0):
    return armijo(ray, start, first, eps=eps, max_probes=10_000)


def takes_nan(ray, start, first=1.0, *, eps=0.0):
    step = first
    for _ in range(60):
        probe = ray(step)
        if not probe.value >= start.value:
            return probe
        step /= 2
    return None


def gives_up_at_once(ray, start, first=1.0, *, eps=0.0):
    probe = ray(first)
    return probe if probe.value < start.value else None


TWINS = {
    "takes the first": (takes_the_first, "φ rose"),
    "tries another first": (tries_another_first, "first step tried"),
    "makes up a probe": (makes_up_a_probe, "did not try"),
    "stays": (stays, "did not try"),
    "tries backwards": (tries_backwards, "not forwards"),
    "has units of t": (has_units_of_t, "unit of t|nothing was found"),
    "has units of φ": (has_units_of_value, "unit of φ"),
    "never gives up": (never_gives_up, "trials were made"),
    "takes NaN": (takes_nan, "φ rose|all the same"),
    "gives up at once": (gives_up_at_once, "nothing was found"),
}


@pytest.mark.parametrize("bug", TWINS)
def test_planted_bugs_are_rejected(bug):
    search, said = TWINS[bug]
    with pytest.raises(AssertionError, match=said):
        check_line_search(search)


def test_exact_and_wolfe_find_the_same_valley():
    """−t / (t² + 2) has its one minimum at √2."""

    def ray(t):
        return Probe(t, -t / (t * t + 2), (t * t - 2) / (t * t + 2) ** 2)

    assert exact(ray, ray(0.0), 10.0).step == pytest.approx(2**0.5, abs=1e-9)
    assert wolfe(ray, ray(0.0), 10.0, c1=1e-7, c2=1e-6).step == pytest.approx(2**0.5, abs=1e-4)
