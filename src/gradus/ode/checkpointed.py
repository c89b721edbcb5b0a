"""Checkpointed gradients: those of backpropagation through the steps, in memory of the square root of their number.

    n steps: about √n states are kept; backwards, one segment of about √n steps at a time is taken again

The forward solve keeps the state of every s-th step; s doubles, and every other state is let go of, whenever more than
2s are kept. The replay takes the very same steps, so its numbers are those of plain backpropagation, bit for bit; to
make the sums of gradients those too, a segment starts from the totals of the ones behind it.

References:
    Griewank 1992, Achieving logarithmic growth of temporal and spatial complexity in reverse automatic differentiation.
    Chen, Xu, Zhang and Guestrin 2016, Training deep nets with sublinear memory cost.
"""

from typing import Any

import torch
from torch import Tensor

from gradus.ode.adaptive import Step, replay
from gradus.ode.problem import Problem
from gradus.ode.pull import pull

__all__ = ["solve_checkpointed"]


def solve_checkpointed(problem: Problem, y: Tensor, params: tuple[Tensor, ...]) -> Tensor:
    """Return the packed states at the problem's times, stacked, with backpropagation's gradient.

    Args:
        problem: with any method.
        y: packed initial state.
        params: what f depends on and gradients are wanted for.
    """
    return _Checkpointed.apply(problem, y, *params)


class _Record:
    """The steps of a solve, and what some of them started from: state and carried slope; a watch of the loops."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.states: list[tuple[Tensor, Tensor | None]] = []
        self.stride = 1

    def __call__(self, stepper: Any, step: Step, y: Tensor, new: Tensor) -> None:
        if len(self.steps) % self.stride == 0:
            self.states.append((y, stepper.first if self.steps and stepper.tableau.fsal else None))
        self.steps.append(step)
        if len(self.states) > 2 * self.stride:
            self.stride *= 2
            del self.states[1::2]


class _Checkpointed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, problem: Problem, y: Tensor, *params: Tensor) -> Tensor:
        record = _Record()
        found = torch.stack(problem.run(problem.functional(y), y.detach(), record))
        ctx.problem, ctx.steps, ctx.stride, ctx.count = problem, record.steps, record.stride, len(params)
        ctx.segments = len(record.states)
        slopes = [slope for _, slope in record.states if slope is not None]
        ctx.save_for_backward(*params, *(state for state, _ in record.states), *slopes)
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        params, saved = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
        states, slopes = saved[: ctx.segments], (None, *saved[ctx.segments :])
        problem, steps = ctx.problem, ctx.steps
        before = problem.statistics.nfev
        wanted, grads = problem.times, list(grad.unbind())
        carried: Tensor | None = grads.pop()
        totals: list[Tensor | None] = [None] * len(params)
        onward: Tensor | None = None
        for index in reversed(range(ctx.segments)):
            segment = steps[index * ctx.stride : (index + 1) * ctx.stride]
            # Times within the segment, and at its start; the one at its end came with the segment behind it.
            inside = [i for i in range(len(grads)) if (wanted[i] - segment[0].t) * segment[0].h >= 0]
            at_start = bool(inside) and wanted[inside[0]] == segment[0].t
            within = inside[1:] if at_start else inside
            start = states[index].detach().requires_grad_()
            slope = None if index == 0 or not problem.tableau.fsal else slopes[index].detach().requires_grad_()
            with torch.enable_grad():
                stepper = problem.functional(start)
                if slope is not None:
                    stepper.know(slope)
                end, found = replay(stepper, start, segment, [wanted[i] for i in within])
            roots = [(end, carried), *zip(found, [grads[i] for i in within], strict=True), *zip(params, totals)]
            if stepper.first is not None:
                roots.append((stepper.first, onward))
            if at_start:
                roots.append((start, grads[inside[0]]))
            carried, onward, *totals = _pull(roots, (start, start if slope is None else slope, *params))
            del grads[len(grads) - len(inside) :]
        problem.statistics.backward += problem.statistics.nfev - before
        problem.statistics.nfev = before
        return None, carried, *totals


def _pull(roots: list[tuple[Tensor, Tensor | None]], inputs: tuple[Tensor, ...]) -> list[Tensor | None]:
    """Return the gradients of Σ ⟨root, seed⟩ with respect to the inputs; None where there is none."""
    pairs = [(root, seed) for root, seed in roots if seed is not None and root.requires_grad]
    if not pairs:
        return [None] * len(inputs)
    outputs, seeds = zip(*pairs, strict=True)
    return list(pull(outputs, inputs, seeds))
