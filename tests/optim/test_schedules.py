"""Schedules: closed forms, and the laws that every registered one obeys."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradus import canon
from gradus.errors import GradusError
from gradus.optim import schedules
from gradus.optim.schedules import make, warmup

NAMES = sorted(canon.names("schedule"))
# How far one step may move a schedule that has no jumps, in units of 1 / T (the largest slope of its curve).
SLOPES = {
    "constant": 0.0,
    "linear": 1.0,
    "cosine": math.pi / 2,
    "exponential": math.log(100),
    "inverse_time": 9.0,
    "noam": 10.0,
    "one_cycle": math.pi / 2 / 0.3,
    "plateau": 0.0,
    "wsd": 5.0,
}
FINAL = {
    "constant": 1.0,
    "linear": 0.0,
    "cosine": 0.0,
    "step": 0.01,
    "exponential": 0.01,
    "inverse_time": 0.1,
    "noam": math.sqrt(0.1),
    "one_cycle": 4e-6,
    "plateau": 1.0,  # it has been shown no values
    "wsd": 0.0,
}


@pytest.mark.parametrize(
    "name, settings, t, value",
    [
        ("constant", {}, 70, 1.0),
        ("linear", {"final": 0.2}, 25, 0.8),
        ("cosine", {"final": 0.1}, 50, 0.55),
        ("cosine", {}, 25, (1 + math.sqrt(0.5)) / 2),
        ("step", {}, 49, 1.0),
        ("step", {}, 50, 0.1),
        ("step", {"gamma": 0.5, "every": 30}, 89, 0.25),
        ("step", {"milestones": (0.3, 0.6, 0.8), "gamma": 0.2}, 80, 0.2**3),
        ("exponential", {}, 50, 0.1),
        ("exponential", {"gamma": 0.97}, 33, 0.97**33),
        ("exponential", {"rate": 0.03}, 33, math.exp(-0.03 * 33)),
        ("inverse_time", {"beta": 0.25}, 12, 1 / (1 + 0.25 * 12)),
        ("inverse_time", {"final": 0.2}, 50, 1 / 3),
        ("noam", {}, 9, 1.0),
        ("noam", {}, 4, 0.5),
        ("noam", {}, 39, 0.5),
        ("noam", {"warmup": 25}, 4, 5 / 25),
        ("noam", {"warmup": 25}, 80, 25**0.5 / 81**0.5),
        ("one_cycle", {"start": 0.2}, 15, 0.6),
        ("one_cycle", {"final": 0.0}, 65, 0.5),
        ("one_cycle", {}, 30, 1.0),
        ("wsd", {}, 80, 1.0),
        ("wsd", {"final": 0.5}, 90, 0.75),
    ],
)
def test_closed_form_over_a_hundred_steps(name: str, settings: dict, t: int, value: float) -> None:
    schedule = make(name, total_steps=100, **settings)
    assert schedule(t) == pytest.approx(value, rel=1e-12)


@given(st.sampled_from(NAMES), st.integers(1, 5000), st.integers(0, 200), st.integers(0, 6000))
def test_every_schedule_stays_between_zero_and_one(name: str, total: int, warm: int, t: int) -> None:
    assert 0.0 <= make(name, total_steps=total, warmup_steps=warm)(t) <= 1.0


@given(st.sampled_from(NAMES), st.integers(1, 5000), st.integers(0, 200))
def test_every_schedule_ends_at_its_final_value_and_stays(name: str, total: int, warm: int) -> None:
    schedule = make(name, total_steps=total + warm, warmup_steps=warm)
    assert schedule(total + warm) == pytest.approx(FINAL[name], abs=1e-12)
    assert schedule(3 * (total + warm)) == schedule(total + warm)


@given(st.sampled_from(sorted(SLOPES)), st.integers(1, 3000), st.integers(1, 200))
def test_no_jump_at_the_joints(name: str, total: int, warm: int) -> None:
    schedule = make(name, total_steps=total + warm, warmup_steps=warm)
    values = [schedule(t) for t in range(total + warm + 3)]
    steepest = max(abs(b - a) for a, b in pairwise(values[warm:]))
    assert steepest <= SLOPES[name] / total + 1e-12
    rises = {round(b - a, 12) for a, b in pairwise(values[: warm + 1])}
    assert len(rises) == 1, "the warm-up is a line that meets the schedule"


@given(
    st.sampled_from([name for name in NAMES if name not in ("noam", "one_cycle")]),
    st.integers(1, 500),
    st.integers(0, 50),
)
def test_after_the_warm_up_a_schedule_never_rises(name: str, total: int, warm: int) -> None:
    schedule = make(name, total_steps=total + warm, warmup_steps=warm)
    values = [schedule(t) for t in range(warm, total + warm + 1)]
    assert values[0] == 1.0
    assert all(b <= a for a, b in pairwise(values))


def test_the_laws_name_every_registered_schedule() -> None:
    assert sorted(FINAL) == NAMES
    assert sorted({*SLOPES, "step"}) == NAMES


def test_warm_up_rises_from_above_zero_and_is_proportional() -> None:
    rising = warmup(lambda t: 0.5, 4)
    assert [rising(t) for t in range(6)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5])


def test_a_run_shorter_than_its_warm_up_is_all_warm_up() -> None:
    schedule = make("cosine", total_steps=2, warmup_steps=9)
    assert [schedule(0), schedule(1)] == pytest.approx([0.1, 0.2])


@pytest.mark.parametrize(
    "act, said",
    [
        (lambda: make("cosin", total_steps=5), "did you mean 'cosine'"),
        (lambda: make("cosine", total_steps=5, finall=0.1), "did you mean 'final'"),
        (lambda: make("cosine", total_steps=5, final=-1), "final=-1 is out of range"),
        (lambda: make("cosine", total_steps=0), "total_steps=0 is out of range"),
        (lambda: make("linear", total_steps=5, warmup_steps=-1), "warmup_steps=-1 is out of range"),
        (lambda: make("exponential", total_steps=5, final=0), "final=0 is never reached"),
        (lambda: make("exponential", total_steps=5, gamma=0.9, rate=0.1), "give one of them"),
        (lambda: make("exponential", total_steps=5, rate=-0.1), "rate=-0.1 is out of range"),
        (lambda: make("noam", total_steps=5, peak=0), "peak=0 is never reached"),
        (lambda: make("noam", total_steps=5, warmup=0), "warmup=0 is out of range"),
        (lambda: make("wsd", total_steps=5, decay=0), "decay=0 is never reached"),
        (lambda: make("step", total_steps=5, every=0), "every=0 is out of range"),
        (lambda: make("step", total_steps=5, milestones=(0.5, 30)), "milestones=30 is out of range"),
        (lambda: make("linear", total_steps=5, final=math.nan), "final=nan is out of range"),
    ],
)
def test_mistakes_are_told_in_one_sentence(act: object, said: str) -> None:
    with pytest.raises(GradusError, match=said):
        act()  # type: ignore[operator]


def test_names_with_hyphens_are_understood() -> None:
    assert make("one-cycle", total_steps=10)(3) == make("one_cycle", total_steps=10)(3)
    assert "torch" not in vars(schedules)
