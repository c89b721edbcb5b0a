"""A chain of named modules: x → fₙ(… f₂(f₁(x)))."""

from collections import OrderedDict

from torch import nn

__all__ = ["chain"]


def chain(**modules: nn.Module | None) -> nn.Sequential:
    """Return the modules, applied in the order written, under their names; `None` leaves a link out.

    Args:
        modules: name to module.
    """
    return nn.Sequential(OrderedDict((name, module) for name, module in modules.items() if module is not None))
