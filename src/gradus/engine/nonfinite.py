"""Where a loss stopped being finite: replay the last steps under hooks and name the first module that breaks."""

import math

import torch
from torch import Tensor, nn

from gradus.engine.run import Run
from gradus.engine.state import modules_of

__all__ = ["blame"]

REMEDY = "lower --lr, clip gradients with --clip, or look at the data with `gradus inspect`"


class _Found(Exception):
    pass


def _watch(path: str, module: nn.Module) -> "torch.utils.hooks.RemovableHandle":
    def look(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        broken = [x for x in inputs if isinstance(x, Tensor) and x.is_floating_point() and not torch.isfinite(x).all()]
        if broken:
            raise _Found(f"the input of {path} ({type(module).__name__}) was not finite")
        for p_name, p in module.named_parameters(recurse=False):
            if not torch.isfinite(p).all():
                raise _Found(f"the parameter {path}.{p_name} was not finite")
        if isinstance(output, Tensor) and not torch.isfinite(output).all():
            raise _Found(f"it began in the output of {path} ({type(module).__name__})")

    return module.register_forward_hook(look)


def blame(run: Run) -> str:
    """Return a sentence that says in which module, and at which step, values stopped being finite.

    Args:
        run: with its learner and source attached; their state is lost.
    """
    learner, source, _ = run.parts
    limit = run.clock.step
    run.restore(truncate=False)
    first = run.clock.step
    handles = []
    for name, root in modules_of(learner).items():
        for path, module in root.named_modules():
            if not any(True for _ in module.children()):
                handles.append(_watch(f"{name}.{path}".rstrip("."), module))
    try:
        for step in range(first, limit + 1):
            try:
                with run.autocast():
                    metrics = learner.step(next(source))
            except _Found as found:
                return f"{found} at step {step + 1}; {REMEDY}"
            if any(name.endswith("loss") and not math.isfinite(float(value)) for name, value in metrics.items()):
                return f"the loss itself overflowed at step {step + 1}, every module's output was finite; {REMEDY}"
    finally:
        for handle in handles:
            handle.remove()
    return f"it did not happen again when steps {first + 1} to {limit} were made once more; {REMEDY}"
