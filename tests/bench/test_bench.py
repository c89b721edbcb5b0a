"""The benchmarks run, both sides do the same work to the same losses, and nothing is said about time."""

import json
import math
import mmap
import os
import sys
import time

import pytest
import torch
from torch import nn

from bench import __main__ as door
from bench import fit, gradus_side, loops, memory, optimisers, startup, turns
from gradus.errors import GradusError

SMALL = {"rounds": 2, "chunk": 2, "images": 600}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def finite(values: dict[str, float]) -> bool:
    return all(type(v) is float and math.isfinite(v) for v in values.values())


def test_turns_give_every_loop_the_same_number_of_steps():
    made = {"a": 0, "b": 0, "c": 0}

    def side(name):
        def advance(steps):
            made[name] += steps

        return advance

    times = turns.interleave({name: side(name) for name in made}, chunk=5, rounds=3, warmup=1)
    assert made == {"a": 20, "b": 20, "c": 20}
    assert {name: len(kept) for name, kept in times.items()} == {"a": 3, "b": 3, "c": 3}


def test_the_driver_is_not_charged_for_the_others(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(turns.time, "perf_counter", lambda: now[0])

    def slow(steps):
        now[0] += 7.0 * steps

    taking = turns.Turns("driver", {"slow": slow}, chunk=4, rounds=2, warmup=1)
    for _ in range(taking.steps):
        now[0] += 1.0
        taking.tick()
    assert taking.finished
    assert taking.times == {"driver": [1.0, 1.0], "slow": [7.0, 7.0]}
    assert turns.paired(taking.times, "slow", "driver")["ratio"] == 7.0


def test_a_drift_of_the_machine_leaves_the_paired_ratio_alone():
    drift = [1.0, 2.0, 0.5, 1.5, 3.0]
    times = {"a": [2 * d for d in drift], "b": drift}
    found = turns.paired(times, "a", "b")
    assert (found["ratio"], found["ratio_low"], found["ratio_high"]) == (2.0, 2.0, 2.0)


def test_overhead_compares_loops_with_the_same_losses_at_every_step():
    found = fit.overhead(**SMALL, log_every=1)
    assert finite(found)
    steps = SMALL["chunk"] * (SMALL["rounds"] + 2)
    assert found["compared"] == 3 * steps  # the losses of two loops, and the accuracy of one
    assert found["difference"] < 1e-6


def test_overhead_refuses_sides_that_do_different_work(monkeypatch):
    monkeypatch.setattr(loops, "DECAY", 50.0)
    with pytest.raises(AssertionError, match="different work"):
        fit.overhead(**SMALL, log_every=1)


def test_shipped_agrees_with_the_tutorial_loop_and_splits_its_gain():
    found = fit.shipped(**SMALL, agree=4)
    assert finite(found)
    assert found["difference"] < 1e-4
    assert {"batching", "fusion", "layout", "rest"} <= found.keys()


def test_the_tutorial_network_is_ours():
    ours = gradus_side.Gradus(gradus_side.mnist_shaped(200), max_steps=1)
    theirs = loops.LeNet([p.detach() for p in ours.model.network.parameters()])
    x = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(theirs(x), ours.model.network(x))


def test_advancing_in_turns_makes_the_same_steps_as_one_fit():
    splits = gradus_side.mnist_shaped(300)
    whole, pieces = (gradus_side.Gradus(splits, max_steps=6, batch_size=32, ema=0.9) for _ in range(2))
    whole.drive()
    for steps in (1, 2, 2, 1):
        pieces.advance(steps)
    for a, b in zip(whole.model.parameters(), pieces.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_lightning_trains_to_our_losses():
    pytest.importorskip("lightning")
    found = fit.lightning(**SMALL, agree=4)
    assert finite(found)
    assert found["difference"] < 1e-4


@pytest.mark.parametrize("channels_first", [False, True])
def test_keras_trains_to_our_losses(channels_first):
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "torch"
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "torch":
        pytest.skip("keras was imported with another backend")
    found = fit.keras_torch(**SMALL, agree=4, channels_first=channels_first)
    assert finite(found)
    assert found["difference"] < 1e-3


def test_a_missing_peer_is_one_clear_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning", None)
    with pytest.raises(GradusError, match="lightning, which is missing: run `make bench`"):
        fit.lightning(**SMALL)


def test_optimisers_end_where_those_of_torch_end():
    found = optimisers.optimisers(rounds=2, chunk=2)
    assert finite(found)
    assert {"sgd_fused", "adam_foreach", "adamw_fused"} <= found.keys()
    assert max(value for name, value in found.items() if name.endswith("difference")) < 1e-5


def test_startup_sees_the_first_step_and_the_wrong_flag():
    found = startup.startup(rounds=1, warmup=0, only=("wrong_flag", "first_step"))
    assert set(found) == {"wrong_flag", "first_step"}
    assert 0 < found["wrong_flag"] < found["first_step"]


def test_evaluation_lets_go_of_its_batches():
    found = memory.evaluation(images=3000)
    assert finite(found)
    assert found["images"] == 3000
    assert found["growth_mb"] < 200


def test_the_peak_is_seen_while_it_lasts():
    def work():
        with mmap.mmap(-1, 120_000_000) as block:  # fresh pages: an allocator may have old ones at hand
            block.write(b"x" * len(block))
            time.sleep(0.3)  # on a loaded machine the watcher waits for its turn
            return block[-1]

    before = memory.peak(lambda: None)[1]
    found, largest = memory.peak(work)
    assert found == ord("x")
    assert largest - before > 100e6


def test_the_door_prints_bars_and_verdicts(monkeypatch, capsys):
    fake = {"ratio": 1.5, "ratio_low": 1.4, "ratio_high": 1.6, "saved_ms": 2.0, "lightning_ms": 6.0}
    monkeypatch.setattr(fit, "lightning", lambda **_: fake)
    assert door.main(["lightning"]) == 0
    out = capsys.readouterr().out
    assert all(part in out for part in ("1.500", "1.400 – 1.600", ">= 1.3", "met", "2.00 ms saved"))
    fake["ratio"] = 1.2
    assert door.main(["lightning", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["lightning"]["met"] == {"ratio": False}
    assert door.main(["lightening"]) == 2
    assert "did you mean 'lightning'" in capsys.readouterr().err


@pytest.mark.parametrize("name", list(door.BENCHES))
def test_every_benchmark_of_the_door_exists(name):
    module, _, function = door.BENCHES[name].measure.partition(":")
    assert callable(getattr(sys.modules.get(module) or __import__(module, fromlist=[function]), function))


def test_parameters_are_grouped_as_the_recipe_groups_them():
    ours = gradus_side.Gradus(gradus_side.mnist_shaped(200), max_steps=1)
    groups = {len(group.params): group.weight_decay for group in ours.build.learner.update.groups}
    assert len(groups) <= 2
    assert set(groups.values()) <= {None, 0.0}
    by_hand = loops._groups(ours.model.network)
    assert [decay for _, decay in by_hand] == [loops.DECAY, 0.0]
    assert sum(len(params) for params, _ in by_hand) == len(list(ours.model.parameters()))
    assert isinstance(ours.model, nn.Module)
