"""Robustness: the smallest changes of an input that change a model's answer.

Every attack is one plain function with one shape of signature,

    attack(fn, inputs, labels, *, eps, **settings) -> adversarial inputs

where `fn` maps a batch in [0, 1] to scores `[batch, classes]`. The result is in [0, 1] and within `eps` of the inputs
exactly, not up to rounding. Models are left as they were found.
"""

from gradus.lazy import attach

__all__ = ["BALLS", "RobustCurve", "fgsm", "pgd", "robust_curve"]

__getattr__, __dir__ = attach(
    __name__,
    {
        "ball": ("BALLS",),
        "curve": (
            "RobustCurve",
            "robust_curve",
        ),
        "fast_gradient": ("fgsm",),
        "projected_gradient": ("pgd",),
    },
)
