"""Looking inside a model without leaving a trace: captured outputs, input gradients, frozen parameters.

    g = ∂ f_target(x) / ∂x

What explainers and attacks stand on. Gradients come from `torch.autograd.grad`, so no parameter's `.grad` is ever
written; hooks live exactly as long as their `with` block, also when it raises; no state is global.

References:
    Baydin et al. 2018, Automatic differentiation in machine learning: a survey.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gradus.errors import GradusError

__all__ = ["Captured", "capture", "check_labels", "frozen", "input_gradient", "row_gradients", "target_scores"]


class Captured:
    """What `capture` recorded: for every module its outputs, in the order of its calls."""

    def __init__(self, modules: tuple[nn.Module, ...]) -> None:
        self._outputs: dict[nn.Module, list[Tensor]] = {module: [] for module in modules}

    def record(self, module: nn.Module, output: Tensor) -> None:
        """Append one output of a module."""
        self._outputs[module].append(output)

    def outputs(self, module: nn.Module) -> list[Tensor]:
        """Return all outputs of a module, oldest first.

        Raises:
            GradusError: if the module did not run.
        """
        if not self._outputs[module]:
            name = type(module).__name__
            raise GradusError(f"the layer {name} did not run in this call; choose one that the function passes through")
        return self._outputs[module]

    def __getitem__(self, module: nn.Module) -> Tensor:
        """Return the latest output of a module; raises as `outputs` does."""
        return self.outputs(module)[-1]

    def gradient(self, scores: Tensor, module: nn.Module) -> Tensor:
        """Return ∂ Σ scores / ∂ output for the latest output of a module captured with `gradients=True`.

        Args:
            scores: what to differentiate, any shape; it is summed.
            module: a captured module.

        Raises:
            GradusError: if the scores do not depend on that output.
        """
        # The graph is kept, so that several layers can be asked for; it goes with the scores.
        return _gradient(scores, self[module], f"the output of the layer {type(module).__name__}", keep=True)


@contextmanager
def capture(*modules: nn.Module, gradients: bool = False) -> Iterator[Captured]:
    """Record the outputs of some modules while the block runs.

    What flows on is a copy, so that a later in-place operation (`ReLU(inplace=True)`) alters no record.

    Args:
        modules: modules whose output is one tensor.
        gradients: make every output differentiable, even if neither input nor parameters are, so that
            `Captured.gradient` can be asked for it.

    Raises:
        GradusError: if a module gives something other than one tensor.
    """
    captured = Captured(modules)

    def hook(module: nn.Module, args: tuple, output: object) -> Tensor:
        if not isinstance(output, Tensor):
            raise GradusError(
                f"the layer {type(module).__name__} gives a {type(output).__name__}; choose one that gives one tensor"
            )
        kept = output.detach().requires_grad_() if gradients and not output.requires_grad else output
        captured.record(module, kept)
        return kept.clone()

    handles = []
    try:
        for module in dict.fromkeys(modules):
            handles.append(module.register_forward_hook(hook))
        yield captured
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Ask for no gradient of the modules' parameters while the block runs, then restore each one's own flag."""
    flags = {parameter: parameter.requires_grad for module in modules for parameter in module.parameters()}
    try:
        for parameter in flags:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)


def check_labels(labels: Int[Tensor, "*shape"], classes: int) -> None:
    """Raise a GradusError unless every label names one of the classes.

    Args:
        labels: class indices.
        classes: how many there are.
    """
    wrong = labels[(labels < 0) | (labels >= classes)]
    if wrong.numel():
        raise GradusError(f"label {int(wrong[0])} is outside the function's {classes} classes, 0 to {classes - 1}")


def target_scores(
    scores: Float[Tensor, "batch classes"], target: int | Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Return each row's score of its target class.

    Args:
        scores: one row a sample.
        target: one class for all rows, or one for each.

    Raises:
        GradusError: if a target is not among the classes.
    """
    # A copy, because autograd keeps the index and refuses one that was made under inference mode.
    index = torch.as_tensor(target, device=scores.device).long().clone()
    check_labels(index, scores.shape[1])
    return scores.gather(1, index.expand(len(scores)).unsqueeze(1)).squeeze(1)


def row_gradients(
    objective: Callable[[Tensor], Tensor], inputs: Float[Tensor, "batch *shape"]
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch *shape"]]:
    """Return an objective's value for every row, and its gradient with respect to that row.

    The rows' values are summed before differentiation, so rows must not influence each other (batch normalisation in
    evaluation mode).

    Args:
        objective: maps a batch to one number a row.
        inputs: where to differentiate; neither changed nor made to require a gradient.

    Raises:
        GradusError: if the objective is not differentiable in its input.
    """
    with torch.inference_mode(False), torch.enable_grad():
        leaf = inputs.detach().clone().requires_grad_()
        values = objective(leaf)
        return values.detach(), _gradient(values, leaf, "the input")


def input_gradient(
    fn: Callable[[Tensor], Tensor], x: Float[Tensor, "batch *shape"], target: int | Int[Tensor, " batch"]
) -> Float[Tensor, "batch *shape"]:
    """Return ∂ f_target(x) / ∂x, row by row.

    Args:
        fn: maps a batch to scores `[batch, classes]`.
        x: the inputs.
        target: one class for all rows, or one for each.

    Raises:
        GradusError: if a target is not among the classes, or `fn` is not differentiable in its input.
    """
    return row_gradients(lambda leaf: target_scores(fn(leaf), target), x)[1]


def _gradient(values: Tensor, source: Tensor, what: str, keep: bool = False) -> Tensor:
    gradient = None
    if values.requires_grad:
        (gradient,) = torch.autograd.grad(values.sum(), source, allow_unused=True, retain_graph=keep)
    if gradient is None:
        raise GradusError(f"the scores carry no gradient of {what}; pass a function that neither detaches nor rounds")
    return gradient
