"""Contract suites: one plain function a kind, which raises an AssertionError that says what was broken.

They need no test framework, so that people can hold their own methods to the same contracts. Importing this is free.
"""

from gradus.lazy import attach

__all__ = [
    "check_attack", "check_classifier", "check_explainer", "check_learner", "check_metric", "check_optimizer",
    "check_recipe", "check_source",
]  # fmt: skip

__getattr__, __dir__ = attach(
    __name__,
    {
        "attacks": ("check_attack",),
        "classifiers": ("check_classifier",),
        "explainers": ("check_explainer",),
        "learners": ("check_learner",),
        "metrics": ("check_metric",),
        "optimizers": ("check_optimizer",),
        "recipes": ("check_recipe",),
        "sources": ("check_source",),
    },
)
