"""Plateau: when it falls and when it does not, a state that resumes, and its place among the schedules."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradus.errors import GradusError
from gradus.optim.plateau import Plateau, watched
from gradus.optim.schedules import make, restarted


def test_falls_after_more_than_patience_observations_without_improvement() -> None:
    schedule = Plateau(factor=0.5, patience=2)
    falls = [schedule.observe(value) for value in (1.0, 0.5, 0.5, 0.6, 0.5, 0.4, 0.4, 0.4, 0.4)]
    assert falls == [False, False, False, False, True, False, False, False, True]
    assert schedule(0) == schedule(10**6) == 0.25


def test_improvement_is_relative_and_less_is_better_below_zero_too() -> None:
    for scale in (1e-6, 1.0, 1e6):
        for sign in (1, -1):
            schedule = Plateau(patience=0, threshold=0.01)
            schedule.observe(sign * scale)
            assert schedule.observe(sign * scale - 0.009 * scale), "too little to count"
            assert not schedule.observe(sign * scale - 0.011 * scale)


def test_rests_after_a_fall_and_stops_at_the_floor() -> None:
    schedule = Plateau(factor=0.1, patience=0, cooldown=2, final=0.05)
    multipliers = []
    for _ in range(8):
        schedule.observe(1.0)
        multipliers.append(schedule(0))
    assert multipliers == pytest.approx([1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05])
    assert [schedule.observe(1.0) for _ in range(9)] == [False] * 9, "at the floor there is nothing to tell"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_no_improvement(bad: float) -> None:
    schedule = Plateau(patience=1)
    assert [schedule.observe(value) for value in (bad, bad, 1.0)] == [False, True, False]
    assert schedule.best == 1.0


@given(
    st.lists(st.floats(0.01, 2), min_size=1, max_size=40),
    st.integers(0, 4),
    st.integers(0, 3),
    st.sampled_from([0.1, 0.5]),
    st.integers(0, 40),
)
def test_resumes_from_its_state(values: list[float], patience: int, cooldown: int, factor: float, cut: int) -> None:
    def walk(restart: int | None) -> list[float]:
        schedule, seen = Plateau(factor, patience, cooldown=cooldown), []
        for i, value in enumerate(values):
            if i == restart:
                saved = json.loads(json.dumps(schedule.state_dict()))
                schedule = Plateau(factor, patience, cooldown=cooldown)
                schedule.load_state_dict(saved)
            schedule.observe(value)
            seen.append(schedule(i))
        return seen

    assert walk(cut) == walk(None)


def test_is_made_by_name_and_found_behind_a_warm_up() -> None:
    schedule = make("plateau", total_steps=100, warmup_steps=4, factor=0.5, patience=0)
    inner = watched(schedule)
    assert isinstance(inner, Plateau)
    assert [schedule(t) for t in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    inner.observe(1.0)
    assert inner.observe(1.0)
    assert schedule(50) == 0.5
    assert watched(make("plateau", total_steps=100)) is not None
    assert watched(make("cosine", total_steps=100, warmup_steps=4)) is None
    assert watched(restarted(make("cosine", total_steps=10), 10)) is None
    assert watched(None) is None


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"factor": 1.0}, r"factor=1.0 is out of range; give a number in \[0, 1\)"),
        ({"patience": -1}, "patience=-1"),
        ({"threshold": -0.1}, "threshold=-0.1"),
        ({"cooldown": -2}, "cooldown=-2"),
        ({"final": 2}, "final=2"),
    ],
)
def test_mistakes_are_told_in_one_sentence(settings: dict, said: str) -> None:
    with pytest.raises(GradusError, match=said):
        make("plateau", total_steps=5, **settings)
