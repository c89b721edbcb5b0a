"""Our ODE solvers beside torchdiffeq: the same field, states, times, tolerances, and Dormand and Prince's pair.

`forward`: a solve without gradients. `adjoint`: a solve and its backward pass by the adjoint equation. Both sides
choose their own steps by the same rule; their evaluations are counted (`evaluations`, `peer_evaluations`) and their
results compared (`difference`). `memory`: what gradients take, as the number of fixed steps grows.

All take turns in one process, a solve each; `ratio` is the median over the rounds of our time over theirs.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.turns import Advance, interleave, milliseconds, paired
from gradus.errors import GradusError
from gradus.ode.solving import odeint

__all__ = ["adjoint", "forward", "memory"]


class Field(nn.Module):
    """A multilayer perceptron with one hidden layer, which counts its evaluations.

    Args:
        width: of the state.
        seed: of the weights.
    """

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.net = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width))
        for parameter in self.parameters():
            parameter.data *= 2
        self.calls = 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Return dy/dt."""
        self.calls += 1
        return self.net(y)


def _peer() -> Any:
    try:
        import torchdiffeq
    except ImportError:
        raise GradusError("the benchmark needs torchdiffeq, which is missing: run `make bench`") from None
    return torchdiffeq


def forward(
    rounds: int = 40, batch: int = 64, width: int = 64, span: float = 10.0, tol: float = 1e-6, seed: int = 0
) -> dict[str, float]:
    """Ours over torchdiffeq, time of a solve without gradients; below 1 ours is quicker.

    Args:
        rounds: solves of each side.
        batch: states side by side.
        width: numbers in each, and hidden units of the field.
        span: length of time.
        tol: relative and absolute tolerance.
        seed: of weights and states.
    """
    field, y0, t = _problem(batch, width, span, seed)

    def run(solver: Callable[..., Any]) -> list[Tensor]:
        with torch.no_grad():
            return [solver(field, y0, t, rtol=tol, atol=tol)[-1]]

    return _race(field, lambda: run(odeint), lambda: run(_peer().odeint), rounds)


def adjoint(
    rounds: int = 20, batch: int = 64, width: int = 64, span: float = 3.0, tol: float = 1e-4, seed: int = 0
) -> dict[str, float]:
    """Ours over torchdiffeq, time of a solve and its adjoint; below 1 ours is quicker.

    Args:
        rounds: solves of each side.
        batch: states side by side.
        width: numbers in each, and hidden units of the field.
        span: length of time.
        tol: relative and absolute tolerance, of both directions.
        seed: of weights and states.
    """
    field, y0, t = _problem(batch, width, span, seed)

    def run(solver: Callable[..., Any], **settings: Any) -> list[Tensor]:
        start = y0.clone().requires_grad_()
        found = solver(field, start, t, rtol=tol, atol=tol, **settings)[-1]
        return list(torch.autograd.grad((found**2).mean(), [start, *field.parameters()]))

    return _race(field, lambda: run(odeint, gradient="adjoint"), lambda: run(_peer().odeint_adjoint), rounds)


def _problem(batch: int, width: int, span: float, seed: int) -> tuple[Field, Tensor, Tensor]:
    field = Field(width, seed)
    y0 = torch.randn(batch, width, generator=torch.Generator().manual_seed(seed))
    return field, y0, torch.tensor([0.0, span])


def _race(
    field: Field, ours: Callable[[], list[Tensor]], theirs: Callable[[], list[Tensor]], rounds: int
) -> dict[str, float]:
    """Count and compare once, then take turns."""
    counts, results = [], []
    for side in (ours, theirs):
        field.calls = 0
        results.append(side())
        counts.append(float(field.calls))
    gap = max(float((a - b).norm() / b.norm()) for a, b in zip(*results, strict=True))
    assert abs(counts[0] - counts[1]) <= 0.1 * counts[1], f"the sides do different work: {counts} evaluations"
    assert gap < 0.1, f"the sides find different things: {gap} apart"

    def advance(side: Callable[[], list[Tensor]]) -> Advance:
        def run(solves: int) -> None:
            for _ in range(solves):
                side()

        return run

    times = interleave({"gradus": advance(ours), "torchdiffeq": advance(theirs)}, chunk=1, rounds=rounds)
    return {
        **paired(times, "gradus", "torchdiffeq"), **milliseconds(times),
        "evaluations": counts[0], "peer_evaluations": counts[1], "difference": gap,
    }  # fmt: skip


def memory(
    steps: Sequence[int] = (10, 100, 1000),
    size: int = 100_000,
    gradients: Sequence[str] = ("adjoint", "checkpointed"),
) -> dict[str, float]:
    """Largest resident memory that a gradient through fixed steps of rk4 takes, in MB (10⁶ bytes).

    A new process for each gradient, with a state of `size` floats and one weight each, solves once without gradients
    and then with ever more steps: `<gradient>_<steps>`, above the solve without. `growth` is the adjoint's largest over
    its smallest.

    Args:
        steps: numbers of steps, measured from the least up.
        size: of the state.
        gradients: which to measure, the adjoint among them.
    """
    found: dict[str, float] = {}
    for gradient in gradients:
        code = f"from bench.ode import measure; measure({gradient!r}, {sorted(steps)}, {size})"
        here = Path(__file__).resolve().parents[1]
        # Freed tensors go back at once, so that what is resident is what is used.
        env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=here, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        found |= json.loads(done.stdout.splitlines()[-1])
    adjoints = [found[f"adjoint_{count}"] for count in steps]
    return {**found, "growth": max(adjoints) / min(adjoints)}


class _Scaled(nn.Module):
    """dy/dt = −w tanh y, element by element."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Return dy/dt."""
        return -self.weight * torch.tanh(y)


def measure(gradient: str, steps: list[int], size: int) -> None:
    """Print the growth of this process's resident memory as JSON, by number of steps."""
    from bench.memory import peak

    field, y0 = _Scaled(size), torch.ones(size)

    def run(count: int) -> None:
        start = y0.clone().requires_grad_()
        options = {"steps": count}
        odeint(field, start, [0.0, 1.0], method="rk4", gradient=gradient, options=options)[-1].sum().backward()

    _, before = peak(lambda: odeint(field.requires_grad_(False), y0, [0.0, 1.0], method="rk4", options={"steps": 2}))
    field.requires_grad_(True)
    grown = {f"{gradient}_{count}": (peak(lambda count=count: run(count))[1] - before) / 1e6 for count in steps}
    print(json.dumps(grown))
