"""The loop and the run: exact resume, the folder's safety, streams, watchers, signals."""

import contextlib
import json
import os
import signal

import pytest
import torch

from engine.regression import Points, Regression
from gradus.engine import (
    Checkpoint,
    EarlyStopping,
    Evaluate,
    KeepBest,
    Run,
    RunFolder,
    Stop,
    Updater,
    fit,
)  # fmt: skip
from gradus.engine.log import read_metrics
from gradus.engine.state import same
from gradus.errors import GradusError
from gradus.optim.adam import adamw
from gradus.optim.sgd import sgd


def train(path, steps, stop_at=None, **options):
    """Train in a folder, or go on there; returns the learner and its metrics without times."""
    run = Run.open(path) if os.path.exists(path) else Run.create(path, seed=3, device="cpu", log_every=3)
    with run:
        learner, source = Regression(run, **options), Points(run)

        def validate():
            x = torch.randn(8, 3)
            with torch.no_grad():
                return {"val/loss": (learner.model(x) - x.sum(1, keepdim=True)).square().mean().item()}

        watchers = [
            Evaluate(run, validate, every_steps=4),
            KeepBest(run, "val/loss", "min"),
            Checkpoint(run, every_steps=5),
            EarlyStopping("val/loss", 30, "min"),
            Killer(stop_at),
        ]
        if stop_at is not None:
            with pytest.raises(Killed):
                fit(learner, source, run=run, steps=steps, watchers=watchers)
            return None
        fit(learner, source, run=run, steps=steps, watchers=watchers)
        state = run.state_dict()
    return state, read_metrics(run.folder.metrics_file)


class Killed(BaseException):
    """What the killer raises: nothing in the engine may catch it."""


class Killer:
    """Ends the process, as it were, without any notice."""

    def __init__(self, step):
        self.step = step

    def __call__(self, clock, metrics):
        if self.step is not None and clock.step >= self.step:
            raise Killed


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}, {"accumulate": 3}, {"clip": 0.1}], ids=str)
def test_resume_is_bit_identical(tmp_path, options):
    whole, log = train(tmp_path / "whole", 40, **options)
    for cut in (3, 7, 20, 31):
        train(tmp_path / f"cut{cut}", 40, stop_at=cut, **options)
        state, log_cut = train(tmp_path / f"cut{cut}", 40, **options)
        assert log_cut == log
        assert same(state["learner"], whole["learner"])
        assert same(state["ranks"], whole["ranks"])


def test_torch_optimisers_resume_bit_identically(tmp_path):
    def learner_in(run):
        learner = Regression(run)
        learner.update = type(learner.update)(learner.model, torch.optim.NAdam(learner.model.parameters(), lr=0.01))
        return learner

    states = []
    for cuts in ([30], [12, 30]):
        path = tmp_path / str(len(cuts))
        for steps in cuts:
            with Run.open(path) if path.exists() else Run.create(path, device="cpu") as run:
                learner = learner_in(run)
                fit(learner, Points(run), run=run, steps=steps)
                states.append(learner.state_dict())
    assert same(states[0], states[2])


def test_a_bare_loss_is_refused_by_lbfgs(tmp_path):
    run = Run.ephemeral()
    learner = Regression(run)
    update = type(learner.update)(learner.model, torch.optim.LBFGS(learner.model.parameters()))
    x, y = next(Points(run))
    with pytest.raises(GradusError, match="pass a closure"):
        update((learner.model(x) - y).square().mean())
    before = (learner.model.eval()(x) - y).square().mean()
    update(lambda: (learner.model(x) - y).square().mean())
    assert (learner.model(x) - y).square().mean() < before


def test_a_finished_run_does_nothing_and_can_be_extended(tmp_path):
    train(tmp_path / "a", 20)
    before = (tmp_path / "a" / "metrics.csv").read_bytes()
    train(tmp_path / "a", 20)
    assert (tmp_path / "a" / "metrics.csv").read_bytes() == before
    train(tmp_path / "a", 24)
    assert max(step for step, _ in read_metrics(tmp_path / "a" / "metrics.csv")["val/loss"]) == 24


def test_the_best_checkpoint_is_kept_and_given_back(tmp_path):
    with Run.create(tmp_path / "a", device="cpu") as run:
        learner = Regression(run)
        values = iter([3.0, 1.0, 2.0, 5.0])
        kept = []

        def validate():
            kept.append([p.clone() for p in learner.model.parameters()])
            return {"val/loss": next(values)}

        watchers = [Evaluate(run, validate, every_steps=5), KeepBest(run, "val/loss", "min")]
        fit(learner, Points(run), run=run, steps=20, watchers=watchers)
        assert run.best == {"step": 10, "metric": "val/loss", "value": 1.0}
        assert same(kept[1], list(learner.model.parameters()))
    assert sorted(p.name for p in run.folder.checkpoints.iterdir()) == ["step-000010", "step-000020"]


def test_early_stopping_stops_and_says_why(tmp_path):
    with Run.create(tmp_path / "a", device="cpu") as run:
        watchers = [Evaluate(run, lambda: {"val/loss": 1.0}, every_steps=2), EarlyStopping("val/loss", 3, "min")]
        history = fit(Regression(run), Points(run), run=run, steps=None, watchers=watchers)
    assert history.step == 8
    assert history.reason == "val/loss did not improve for 3 evaluations"


def test_a_watcher_may_stop_the_run():
    run = Run.ephemeral()

    def stop(clock, metrics):
        if clock.step == 7:
            raise Stop("enough")

    history = fit(Regression(run), Points(run), run=run, steps=None, watchers=[stop])
    assert (history.step, history.reason) == (7, "enough")


def test_a_signal_finishes_the_step_and_saves(tmp_path):
    with Run.create(tmp_path / "a", device="cpu") as run:

        def interrupt(clock, metrics):
            if clock.step == 5:
                os.kill(os.getpid(), signal.SIGTERM)

        history = fit(Regression(run), Points(run), run=run, steps=100, watchers=[interrupt])
        assert history.signal == signal.SIGTERM
        assert history.step == 6
    head = json.loads((run.folder.checkpoints / "step-000006" / "state.json").read_text())
    assert head["status"] == "stopped"


def test_metrics_are_means_over_the_interval():
    run = Run.ephemeral(log_every=4)

    class Counting(Regression):
        def step(self, batch):
            self.n = getattr(self, "n", 0) + 1
            return {"loss": torch.tensor(float(self.n)), "count": self.n}

    history = fit(Counting(run), Points(run), run=run, steps=8)
    assert history.metrics["train/loss"] == [(4, 2.5), (8, 6.5)]
    assert history.metrics["train/count"] == [(4, 4.0), (8, 8.0)]


def test_a_step_counts_by_the_share_of_its_hits():
    class Shares(Regression):
        def step(self, batch):
            update = super().step(batch)
            hits = batch[0][:, 0] > 0
            hits = hits[: 5 + self.update.count % 3]  # batches are not all of one size
            return {**update, "hits": hits, "share": hits.double().mean()}

    run = Run.ephemeral(log_every=4)
    history = fit(Shares(run), Points(run), run=run, steps=12)
    assert history.metrics["train/hits"] == history.metrics["train/share"]
    assert len({value for _, value in history.metrics["train/hits"]}) == 3


def test_a_run_goes_on_amid_batches_of_unequal_size(tmp_path):
    class Hits(Regression):
        def step(self, batch):
            update = super().step(batch)
            return {**update, "hits": (batch[0][:, 0] > 0)[: 5 + self.update.count % 3]}

    logs = []
    for cuts in ([None], [2, 3, 4, None]):  # batches of 6, 7, 5, 6 … samples
        path = tmp_path / str(len(cuts))
        for cut in cuts:
            with Run.open(path) if path.exists() else Run.create(path, device="cpu", log_every=6) as run:
                watchers = [Checkpoint(run, every_steps=1), Killer(None if cut is None else cut + 1)]
                with contextlib.suppress(Killed):
                    fit(Hits(run), Points(run), run=run, steps=9, watchers=watchers)
        logs.append(read_metrics(path / "metrics.csv")["train/hits"])
    assert logs[0] == logs[1]
    assert [step for step, _ in logs[0]] == [6, 9]


def test_a_watcher_of_metrics_is_called_where_there_are_some():
    class Kept(list):
        metrics_only = True

        def __call__(self, clock, metrics):
            self.append((clock.step, *metrics))

    run, seen = Run.ephemeral(log_every=100), Kept()
    shown = Evaluate(run, lambda: {"val/loss": 0.0}, every_steps=3)
    fit(Regression(run), Points(run), run=run, steps=7, watchers=[shown, seen])
    assert [step for step, *_ in seen] == [3, 6, 7]
    assert seen[0] == (3, "val/loss")


def test_a_diverging_loss_names_the_module(tmp_path):
    with Run.create(tmp_path / "a", device="cpu", log_every=5) as run:
        learner = Regression(run)

        def poison(clock, metrics):
            if clock.step == 5:
                run.save_requested = True
            if clock.step == 7:
                learner.model[3].weight.data[0, 0] = float("nan")

        with pytest.raises(GradusError, match=r"train/loss became nan by step 10"):
            fit(learner, Points(run), run=run, steps=50, watchers=[poison])


def test_a_learning_rate_that_is_too_high_is_blamed_on_where_it_shows_first(tmp_path):
    with Run.create(tmp_path / "a", device="cpu", log_every=5) as run:
        learner = Regression(run, rule=sgd(lr=1e30))
        with pytest.raises(GradusError, match=r"train/loss became (nan|inf) by step 5: .* at step [2-6]; lower --lr"):
            fit(learner, Points(run), run=run, steps=50)
    assert not list(run.folder.checkpoints.glob("*"))


def test_a_state_that_is_no_longer_finite_is_never_checkpointed(tmp_path):
    with Run.create(tmp_path / "a", device="cpu", log_every=1000) as run:
        learner = Regression(run)

        def poison(clock, metrics):
            if clock.step == 12:
                learner.model[3].weight.data[0, 0] = float("nan")

        with pytest.raises(GradusError, match=r"by step 15: it did not happen again when steps 11 to 15"):
            fit(learner, Points(run), run=run, steps=50, watchers=[poison, Checkpoint(run, every_steps=5)])
    assert sorted(p.name for p in run.folder.checkpoints.iterdir())[-1] == "step-000010"


def test_streams_are_independent_and_do_not_disturb_the_global_state():
    a, b = Run.ephemeral(seed=1), Run.ephemeral(seed=1)
    b.generator("another")
    assert torch.equal(torch.rand(3, generator=a.generator("data")), torch.rand(3, generator=b.generator("data")))
    before = torch.get_rng_state()
    with a.stream("eval"):
        first = torch.rand(2)
    with a.stream("eval"):
        second = torch.rand(2)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, second)


def test_a_run_folder_is_locked_and_never_overwritten(tmp_path):
    with Run.create(tmp_path / "a", device="cpu"):
        with pytest.raises(GradusError, match="written by another process"):
            Run.open(tmp_path / "a")
        with pytest.raises(GradusError, match="exists already"):
            Run.create(tmp_path / "a")
    Run.open(tmp_path / "a").close()


def test_a_recipe_edited_by_hand_is_refused(tmp_path):
    folder = RunFolder.create(tmp_path / "a", "vision/classify", {"seed": 0})
    folder.recipe_file.write_text(folder.recipe_file.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(GradusError, match="was edited"):
        folder.read()
    folder.recipe_file.write_text("{")
    with pytest.raises(GradusError, match="is damaged"):
        folder.read()
    folder.recipe_file.unlink()
    with pytest.raises(GradusError, match="is not a run folder"):
        folder.read()


def test_inner_runs_have_streams_of_their_own():
    run = Run.ephemeral(seed=5)
    outer, inner = run.generator("data"), run.inner("dream").generator("data")
    assert not torch.equal(torch.rand(4, generator=outer), torch.rand(4, generator=inner))


def test_an_updater_that_is_alone_does_the_same_and_notices_strangers():
    made = []
    for alone in (False, True):
        run = Run.ephemeral(seed=1)
        learner = Regression(run, alone=alone, accumulate=2)
        fit(learner, Points(run), run=run, steps=6)
        made.append(learner.state_dict())
    assert same(*made)
    own, other = (torch.ones(3, requires_grad=True) for _ in range(2))
    update = Updater([own], sgd(lr=1.0), alone=True)
    with pytest.raises(GradusError, match=r"a tensor of shape \(3,\) that needs a gradient and is not the Updater's"):
        update(((own * 2).exp() * other).sum())
    assert own.grad is None
    assert other.grad is None
    update((own * other.detach()).sum())
    assert own.tolist() == [0.0, 0.0, 0.0]


def test_accumulation_equals_one_large_batch():
    torch.manual_seed(0)
    x, y = torch.randn(12, 3, dtype=torch.float64), torch.randn(12, 1, dtype=torch.float64)
    ends = []
    for k in (1, 3):
        torch.manual_seed(1)
        model = torch.nn.Linear(3, 1).double()
        update = Updater(model, adamw(lr=0.1), accumulate=k)
        for _ in range(5):
            for part_x, part_y in zip(x.chunk(k), y.chunk(k), strict=True):
                update((model(part_x) - part_y).square().mean())
        ends.append(model.weight.detach().clone())
    assert torch.allclose(*ends, atol=1e-12)
