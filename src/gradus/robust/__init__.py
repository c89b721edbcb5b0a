"""Robustness: the smallest changes of an input that change a model's answer.

Every attack is one plain function with one shape of signature,

    attack(fn, inputs, labels, *, eps, **settings) -> adversarial inputs

where `fn` maps a batch in [0, 1] to scores `[batch, classes]`. The result is in [0, 1] and within `eps` of the inputs
exactly, not up to rounding. Models are left as they were found.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "BALLS": "ball",
    "RobustCurve": "curve",
    "fgsm": "fast_gradient",
    "pgd": "projected_gradient",
    "robust_curve": "curve",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
