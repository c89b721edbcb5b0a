"""Explanations: which parts of an input made a model answer as it did.

Every explainer is one plain function with one shape of signature,

    explainer(fn, inputs, *, target, **settings) -> attributions

where `fn` maps a batch to scores `[batch, classes]` and `target` is a class, or one for each row. Attributions have the
inputs' shape, or one channel. An explainer that must look inside the model also takes `layer`, a module that runs
while `fn` does. Models are left as they were found: gradients, flags, hooks and random state.
"""

from gradus.lazy import attach

__all__ = [
    "FidelityCurve",
    "completeness_residual",
    "deletion",
    "grad_cam",
    "gradient",
    "insertion",
    "integrated_gradients",
    "occlusion",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "cam": ("grad_cam",),
        "faithfulness": (
            "FidelityCurve",
            "deletion",
            "insertion",
        ),
        "gradients": ("gradient",),
        "integrated": (
            "completeness_residual",
            "integrated_gradients",
        ),
        "occluding": ("occlusion",),
    },
)
