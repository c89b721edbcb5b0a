"""Contract suites: one plain function a kind, which raises an AssertionError that says what was broken.

They need no test framework, so that people can hold their own methods to the same contracts. Importing this is free.
"""

from gradus.lazy import attach

__all__ = [
    "check_activation", "check_attack", "check_bijector", "check_classifier", "check_divergence", "check_estimator",
    "check_experiment", "check_explainer", "check_fixed_point", "check_guide", "check_learner", "check_line_search",
    "check_loss", "check_metric", "check_minimax", "check_minimizer", "check_optimizer", "check_recipe",
    "check_sampler", "check_solver", "check_source", "check_strategy", "check_table", "check_uncertainty",
]  # fmt: skip

__getattr__, __dir__ = attach(
    __name__,
    {
        "activations": ("check_activation",),
        "attacks": ("check_attack",),
        "bijectors": ("check_bijector",),
        "classifiers": ("check_classifier",),
        "divergences": ("check_divergence",),
        "estimators": ("check_estimator",),
        "experiments": ("check_experiment",),
        "explainers": ("check_explainer",),
        "fixed_points": ("check_fixed_point",),
        "guides": ("check_guide",),
        "learners": ("check_learner",),
        "line_searches": ("check_line_search",),
        "losses": ("check_loss",),
        "metrics": ("check_metric",),
        "minimaxes": ("check_minimax",),
        "minimizers": ("check_minimizer",),
        "optimizers": ("check_optimizer",),
        "recipes": ("check_recipe",),
        "samplers": ("check_sampler",),
        "solvers": ("check_solver",),
        "sources": ("check_source",),
        "strategies": ("check_strategy",),
        "tables": ("check_table",),
        "uncertainties": ("check_uncertainty",),
    },
)
