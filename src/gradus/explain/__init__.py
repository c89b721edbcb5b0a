"""Explanations: which parts of an input made a model answer as it did.

Every explainer is one plain function with one shape of signature,

    explainer(fn, inputs, *, target, **settings) -> attributions

where `fn` maps a batch to scores `[batch, classes]` and `target` is a class, or one for each row. Attributions have the
inputs' shape, or one channel. An explainer that must look inside the model also takes `layer`, a module that runs
while `fn` does. Models are left as they were found: gradients, flags, hooks and random state.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "gradient": "gradients",
    "integrated_gradients": "integrated",
    "completeness_residual": "integrated",
    "grad_cam": "cam",
    "occlusion": "occluding",
    "deletion": "faithfulness",
    "insertion": "faithfulness",
    "FidelityCurve": "faithfulness",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
