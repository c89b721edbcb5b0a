"""Contract suites: one plain function a kind, which raises an AssertionError that says what was broken.

They need no test framework, so that people can hold their own methods to the same contracts. Importing this is free.
"""

from gradus.lazy import attach

__all__ = [
    "check_activation", "check_attack", "check_bijector", "check_classifier", "check_corpus", "check_divergence",
    "check_estimator", "check_experiment", "check_explainer", "check_fixed_point", "check_forecaster",
    "check_guide", "check_language_model", "check_learner", "check_line_search", "check_loss", "check_metric",
    "check_minimax", "check_minimizer", "check_optimizer", "check_pair_set", "check_recipe", "check_sampler",
    "check_series", "check_solver", "check_source", "check_strategy", "check_table", "check_tag_set",
    "check_tagger", "check_text_classifier", "check_text_encoder", "check_text_set", "check_tokenizer",
    "check_translator", "check_uncertainty",
]  # fmt: skip

__getattr__, __dir__ = attach(
    __name__,
    {
        "activations": ("check_activation",),
        "attacks": ("check_attack",),
        "bijectors": ("check_bijector",),
        "classifiers": ("check_classifier",),
        "corpora": ("check_corpus",),
        "divergences": ("check_divergence",),
        "embeddings": ("check_embedding",),
        "estimators": ("check_estimator",),
        "experiments": ("check_experiment",),
        "explainers": ("check_explainer",),
        "fixed_points": ("check_fixed_point",),
        "forecasters": ("check_forecaster",),
        "guides": ("check_guide",),
        "language_models": ("check_language_model",),
        "learners": ("check_learner",),
        "line_searches": ("check_line_search",),
        "losses": ("check_loss",),
        "metrics": ("check_metric",),
        "minimaxes": ("check_minimax",),
        "minimizers": ("check_minimizer",),
        "optimizers": ("check_optimizer",),
        "pair_sets": ("check_pair_set",),
        "recipes": ("check_recipe",),
        "samplers": ("check_sampler",),
        "series": ("check_series",),
        "solvers": ("check_solver",),
        "sources": ("check_source",),
        "strategies": ("check_strategy",),
        "tables": ("check_table",),
        "tag_sets": ("check_tag_set",),
        "taggers": ("check_tagger",),
        "text_classifiers": ("check_text_classifier",),
        "text_encoders": ("check_text_encoder",),
        "text_sets": ("check_text_set",),
        "tokenizers": ("check_tokenizer",),
        "translators": ("check_translator",),
        "uncertainties": ("check_uncertainty",),
    },
)
