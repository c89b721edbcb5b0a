"""The contract of learners, whatever they learn: deterministic, exactly resumable, stepping what they own.

    fit(n)  ==  fit(k), kill, new objects, fit(n)        bit for bit: state, random streams, metrics

`check_learner` needs no test framework; it raises an AssertionError that says what was broken.
"""

import inspect
import json
import math
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gradus.engine.learner import Clock, Learner, Source, Watcher
from gradus.engine.loop import fit
from gradus.engine.run import Run
from gradus.engine.state import State, join, modules_of, same, split
from gradus.engine.streams import Streams

__all__ = ["Make", "Watch", "check_learner", "differences"]

Make = Callable[[Run], tuple[Learner, Source]]
Watch = Callable[[Run, Learner], Sequence[Watcher]]
SEED = 7


def check_learner(
    make: Make, *, steps: int = 6, cuts: Sequence[int] = (), watch: Watch | None = None, untrained: Collection[str] = ()
) -> None:
    """Assert the contract of a learner and its source.

    They satisfy the protocols; the same seed gives the same bits; their state can be written, and is put back whole, in
    place and with its strides; a run that is killed and goes on with new objects ends where an uninterrupted one does,
    in channels-last memory too where there are convolutions; watching changes nothing; every trainable parameter is
    trained; `repr` and the docstring of `step` say something.

    Args:
        make: returns a fresh learner and source for a run; what is random in them comes from the run.
        steps: length of the runs.
        cuts: steps whose checkpoint is resumed from; by default the first, a middle and the last but one.
        watch: returns the watchers that evaluate, given the run and the learner.
        untrained: patterns of parameter names that are rightly never trained, such as `target.*`.

    Raises:
        AssertionError: naming what was broken.
    """
    assert steps >= 3, "three steps are needed to see anything"
    with Streams(SEED).swapped("check"):
        _check_nouns(make)
        _check_metrics(make)
        _check_training(make, steps, untrained)
        _check_determinism(make, steps)
        if watch is not None:
            _check_watching(make, steps, watch)
        layouts = [make] if _flat(make) else [make, _channels_last(make)]
        for made in layouts:
            _check_loading(made)
            _check_resume(made, steps, cuts or sorted({1, steps // 2, steps - 1}), watch)


# -- what is looked at ------------------------------------------------------------------------------------------------


class _Outcome(NamedTuple):
    """Where a run ended: everything a checkpoint holds but the wall time, and what was logged."""

    state: State
    metrics: list[Any]


def _state(run: Run) -> State:
    state = run.state_dict()
    state["clock"] = {"step": state["clock"]["step"]}
    tensors: dict[str, Tensor] = {}
    return join(split(state, tensors), tensors)  # a copy: the live tensors go on


def _ephemeral(make: Make, steps: int, watch: Watch | None = None) -> _Outcome:
    run = Run.ephemeral(seed=SEED, log_every=2)
    learner, source = make(run)
    last: list[State] = []

    def keep(clock: Clock, metrics: Mapping[str, float]) -> None:
        if clock.stop:  # afterwards the best weights come back
            last.append(_state(run))

    watchers = [*(watch(run, learner) if watch else ()), keep]
    history = fit(learner, source, run=run, steps=steps, watchers=watchers)
    return _Outcome(last[0], [(name, *pair) for name, pairs in history.metrics.items() for pair in pairs])


def differences(left: Any, right: Any, path: str = "") -> list[str]:
    """Return the places where two states differ, for people."""
    if isinstance(left, Mapping) and isinstance(right, Mapping) and left.keys() == right.keys():
        return [found for key in left for found in differences(left[key], right[key], f"{path}/{key}")]
    if isinstance(left, list | tuple) and type(left) is type(right) and len(left) == len(right):
        pairs = enumerate(zip(left, right, strict=True))
        return [found for i, (a, b) in pairs for found in differences(a, b, f"{path}/{i}")]
    try:
        return [] if same(left, right) else [path or "/"]
    except TypeError as error:
        return [f"{path}: {error}"]


def _told(left: Any, right: Any) -> str:
    """Return the first few differing places as a clause."""
    found = differences(left, right)
    more = f" and {len(found) - 3} more places" if len(found) > 3 else ""
    return f"{', '.join(found[:3])}{more}" if found else ""


def _modules(learner: Learner) -> dict[str, nn.Module]:
    return {"": learner} if isinstance(learner, nn.Module) else modules_of(learner)


def _copied(part: Any, what: str) -> State:
    """Return a part's state as it comes back from a checkpoint."""
    tensors: dict[str, Tensor] = {}
    try:
        return join(json.loads(json.dumps(split(dict(part.state_dict()), tensors))), tensors)
    except TypeError as error:
        raise AssertionError(f"the {what}'s state cannot be written: {error}") from None


def _parameters(learner: Learner, buffers: bool = False) -> dict[str, Tensor]:
    """Return the parameters of a learner's modules by name, and their buffers where asked."""
    found: dict[str, Tensor] = {}
    for name, module in _modules(learner).items():
        members = [*module.named_parameters(), *(module.named_buffers() if buffers else ())]
        found.update((f"{name}.{path}".lstrip("."), tensor) for path, tensor in members)
    return found


def _flat(make: Make) -> bool:
    """Say whether no parameter has a memory layout to lose."""
    learner, _ = make(Run.ephemeral(seed=SEED))
    return not any(p.ndim == 4 and min(p.shape[1], p.shape[2]) > 1 for p in _parameters(learner).values())


def _channels_last(make: Make) -> Make:
    """Return a maker of the same learner with its prepared modules in channels-last memory."""

    def remake(run: Run) -> tuple[Learner, Source]:
        prepare = run.prepare
        run.prepare = lambda module: prepare(module.to(memory_format=torch.channels_last))  # type: ignore[method-assign,call-overload]
        return make(run)

    return remake


# -- the checks -------------------------------------------------------------------------------------------------------


def _check_nouns(make: Make) -> None:
    learner, source = make(Run.ephemeral(seed=SEED))
    assert isinstance(learner, Learner), f"{type(learner).__name__} is no Learner: it needs step and both state methods"
    assert isinstance(source, Source), f"{type(source).__name__} is no Source: it needs iteration and a state"
    assert iter(source) is source, "iterating over the source starts another one: `__iter__` must return self"
    shown = repr(learner)
    assert " at 0x" not in shown, f"repr of the learner says nothing: {shown[:80]}"
    assert 0 < len(shown) <= 500, f"repr of the learner is {len(shown)} characters long: {shown[:80]}"
    assert inspect.getdoc(type(learner).step), "`step` has no docstring: say what one step is"


def _check_metrics(make: Make) -> None:
    learner, source = make(Run.ephemeral(seed=SEED))
    held: list[tuple[str, Tensor, Tensor]] = []
    for _ in range(3):
        metrics = learner.step(next(source))
        assert isinstance(metrics, Mapping), f"step returned a {type(metrics).__name__}, not metrics by name"
        for name, value in metrics.items():
            if isinstance(value, Tensor):
                plain = value.numel() == 1 or (value.dtype is torch.bool and value.ndim == 1)
                assert plain, f"the metric {name!r} has shape {tuple(value.shape)}, and is no number and no row of hits"
                held.append((name, value, value.detach().clone()))
            else:
                assert isinstance(value, float | int), f"the metric {name!r} is a {type(value).__name__}"
    for name, value, then in held:
        assert same(value, then), f"the metric {name!r} changed after it was returned: return a copy of one's own state"


@contextmanager
def _gradients(params: Mapping[str, Tensor]) -> Iterator[set[str]]:
    """Collect the names of those that a gradient other than zero reaches."""
    reached: set[str] = set()

    def note(name: str) -> Callable[[Tensor], None]:
        return lambda grad: reached.add(name) if bool(grad.any()) else None

    handles = [p.register_hook(note(name)) for name, p in params.items() if p.requires_grad]
    try:
        yield reached
    finally:
        for handle in handles:
            handle.remove()


def _check_training(make: Make, steps: int, untrained: Collection[str]) -> None:
    run = Run.ephemeral(seed=SEED)
    learner, source = make(run)
    params = _parameters(learner)
    wanted = [n for n, p in params.items() if p.requires_grad and not any(fnmatch(n, one) for one in untrained)]
    before = {name: p.detach().clone() for name, p in params.items()}
    start = _copied(learner, "learner")
    with _gradients(params) as reached:
        fit(learner, source, run=run, steps=steps)
    assert not same(dict(learner.state_dict()), start), f"nothing was learnt: the state is the same after {steps} steps"
    still = [name for name in wanted if torch.equal(params[name], before[name])]
    assert not still, f"never trained in {steps} steps: {', '.join(still[:3])} ({len(still)} parameters)"
    # Weight decay moves a parameter that no loss hangs on; learners without gradients have none to look at.
    starved = [name for name in wanted if reached and name not in reached]
    assert not starved, f"no gradient reached {', '.join(starved[:3])} ({len(starved)} parameters)"
    broken = [name for name, p in params.items() if not bool(torch.isfinite(p).all())]
    assert not broken, f"no longer finite after {steps} steps: {', '.join(broken[:3])}"
    kept = [name for name, p in params.items() if not p.requires_grad and not torch.equal(p, before[name])]
    frozen = [name for name in kept if not any(fnmatch(name, one) for one in untrained)]
    assert not frozen, f"frozen parameters were changed: {', '.join(frozen[:3])}"


def _check_determinism(make: Make, steps: int) -> None:
    first, second = _ephemeral(make, steps), _ephemeral(make, steps)
    assert same(first.state, second.state), (
        f"the same seed gave two results: {_told(first.state, second.state)} differ; draw from the run's streams"
    )
    assert same(first.metrics, second.metrics), f"the same seed gave other metrics: {first.metrics} {second.metrics}"
    learner, source = make(run := Run.ephemeral(seed=SEED, log_every=2))
    asked: list[bool] = []

    def ask(clock: Clock, metrics: Mapping[str, float]) -> None:
        asked.append(same(dict(learner.state_dict()), dict(learner.state_dict())))
        source.state_dict()

    fit(learner, source, run=run, steps=steps, watchers=[ask])
    assert all(asked), "two states taken one after the other differ"
    found = _told({**_state(run), "watchers": 0}, {**first.state, "watchers": 0})
    assert not found, f"taking a state changed what follows: {found} differ"


def _check_loading(make: Make) -> None:
    """A state can be written; loading it restores all of it, in the tensors that are there, strides and all."""
    run = Run.ephemeral(seed=SEED)
    learner, source = make(run)
    fit(learner, source, run=run, steps=3)
    for what, part in (("learner", learner), ("source", source)):
        saved = _copied(part, what)
        assert same(saved, dict(part.state_dict())), f"the {what}'s state does not survive being written"
        fresh = make(Run.ephemeral(seed=SEED + 1))
        other = fresh[0] if what == "learner" else fresh[1]
        live = _parameters(fresh[0], buffers=True)
        places = {name: (id(tensor), tensor.data_ptr()) for name, tensor in live.items()}
        other.load_state_dict(_copied(part, what))
        lost = _told(dict(other.state_dict()), saved)
        assert not lost, f"loading the {what}'s state does not bring back {lost}"
        now = _parameters(fresh[0], buffers=True)
        moved = [name for name, tensor in now.items() if places.get(name) != (id(tensor), tensor.data_ptr())]
        assert not moved, f"loading replaced {', '.join(moved[:3])}: copy into the tensors that are there"
        then, after = _strides(dict(part.state_dict())), _strides(dict(other.state_dict()))
        bent = [path for path in then if then[path] != after.get(path)]
        assert not bent, (
            f"loading changed the memory layout of {', '.join(bent[:3])}: a fused rule then walks the wrong numbers; "
            "copy into tensors with the parameters' strides"
        )


def _strides(value: Any, path: str = "") -> dict[str, tuple[int, ...]]:
    """Return the strides of every tensor of a state, those of single entries left out."""
    if isinstance(value, Tensor):
        return {path: tuple(step for size, step in zip(value.shape, value.stride(), strict=True) if size > 1)}
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    return {key: found for name, part in items for key, found in _strides(part, f"{path}/{name}").items()}


class _Killed(Exception):
    pass


class _Kill:
    """A watcher that asks for a checkpoint at one step and kills the run at the next."""

    def __init__(self, run: Run, at: int | None) -> None:
        self.run, self.at = run, at

    def __call__(self, clock: Clock, metrics: Mapping[str, float]) -> None:
        if self.at is not None and clock.step == self.at:
            self.run.save_requested = True
        if self.at is not None and clock.step == self.at + 1:
            raise _Killed


def _session(run: Run, make: Make, steps: int, watch: Watch | None, at: int | None) -> _Outcome | None:
    """Train in a run folder; return where it ended, None where it was killed."""
    with run:
        assert run.folder is not None
        learner, source = make(run)
        watchers: list[Watcher] = [*(watch(run, learner) if watch else ()), _Kill(run, at)]
        try:
            fit(learner, source, run=run, steps=steps, watchers=watchers)
        except _Killed:
            return None
        rows = run.folder.metrics_file.read_text(encoding="utf-8").splitlines()
        return _Outcome(_state(run), [[step, name, value] for step, _, name, value in (r.split(",") for r in rows)])


def _check_resume(make: Make, steps: int, cuts: Sequence[int], watch: Watch | None) -> None:
    settings: dict[str, Any] = {"seed": SEED, "device": "cpu", "log_every": 2}
    with tempfile.TemporaryDirectory() as home:
        whole = _session(Run.create(Path(home, "whole"), **settings), make, steps, watch, None)
        assert whole is not None
        for cut in cuts:
            place = Path(home, f"cut-{cut}")
            assert _session(Run.create(place, **settings), make, steps, watch, cut) is None
            resumed = _session(Run.open(place), make, steps, watch, None)
            assert resumed is not None
            when = f"killed at step {cut + 1} and resumed from the checkpoint of step {cut}, the run"
            found = _told(resumed.state, whole.state)
            assert not found, f"{when} ends elsewhere than an uninterrupted one: {found} differ"
            assert resumed.metrics == whole.metrics, f"{when} logs other metrics: {_other(resumed, whole)}"


def _other(resumed: _Outcome, whole: _Outcome) -> str:
    pairs = zip(resumed.metrics, whole.metrics, strict=False)
    first = next(((a, b) for a, b in pairs if a != b), (len(resumed.metrics), len(whole.metrics)))
    return f"{first[0]} instead of {first[1]}"


def _check_watching(make: Make, steps: int, watch: Watch) -> None:
    """Evaluation changes neither the learner nor the random numbers that its steps draw."""
    alone, watched = _ephemeral(make, steps), _ephemeral(make, steps, watch)
    for part in ("learner", "source"):
        found = _told(watched.state[part], alone.state[part])
        assert not found, f"watching changed the {part}: {found} differ"
    found = _told(*(one.state["ranks"][0]["streams"]["global"] for one in (watched, alone)))
    assert not found, f"watching drew random numbers of the steps: {found} differ; evaluate in `run.stream`"
    values = [value for name, _, value in watched.metrics if name.startswith("val/")]
    assert all(math.isfinite(value) for value in values), "an evaluation gave a value that is not finite"
