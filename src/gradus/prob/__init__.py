"""Probability: bijectors, divergences, exponential families, Markov chains, variational inference, programs.

Importing this is free. Samplers walk many chains at once, as one tensor (chains, dim), and take a `generator`.
"""

from gradus.lazy import attach

__all__ = [
    "FAMILIES", "HMC", "Affine", "Autoregressive", "BayesianLinear", "Bijector", "Bits", "Blocks", "Chains",
    "ClassUncertainty", "Compose", "Conditional", "Conjugate", "Coupling", "Exp", "ExponentialFamily", "Fitted",
    "Gibbs", "Guide", "Identity", "Independent", "Info", "Inverse", "Kernel", "LaplaceLogistic", "LastLayer",
    "LeakyReLU", "Logit", "MetropolisHastings", "Moments", "MovingBaseline", "Permutation", "Posterior", "Power",
    "PushedNormal", "RandomWalk", "RationalQuadraticSpline", "Sampling", "Sigmoid", "Site", "Softplus",
    "StickBreaking", "StudentLinear", "Summary", "Tanh", "Trace", "Transport", "Triangular", "Unconstrained",
    "Weighted", "affine_element", "bayesian_last_layer", "bernoulli", "beta", "beta_bernoulli", "bits_guide",
    "bregman_divergence", "categorical", "class_uncertainty", "condition", "critic_bound", "cross_entropy",
    "dirichlet", "dirichlet_categorical", "dropout_on", "dropout_samples", "elbo", "entropy", "enumerate_runs",
    "ess", "ess_bulk", "ess_tail", "f_divergence", "factor", "fit_guide", "fit_posterior", "flow_guide",
    "full_rank", "gamma", "gamma_exponential", "gamma_poisson", "gaussian", "gaussian_conditionals",
    "gaussian_entropy", "gaussian_kl", "gaussian_mean", "handled", "importance_sampling", "js", "kl",
    "kl_by_sampling", "laplace_logistic", "leapfrog", "leave_one_out", "linear_posterior", "mcse", "mean_field",
    "normal_gamma", "normal_gamma_normal", "normal_normal", "observe", "optimal_critic", "plate", "poisson",
    "predictive_moments", "pulled_back", "pushed_forward", "replay", "require", "reverse_kl", "rhat", "sample",
    "sample_chain", "sample_posterior", "seeded", "single_site", "sinkhorn", "spline_element", "student_linear",
    "symmetric", "to_support", "trace", "wasserstein_distance", "wasserstein_on_grid",
]  # fmt: skip

__getattr__, __dir__ = attach(
    __name__,
    {
        "bayesian_linear": (
            "BayesianLinear", "LastLayer", "StudentLinear", "bayesian_last_layer", "student_linear",
            "linear_posterior",
        ),
        "bijector": ("Bijector", "pulled_back", "pushed_forward"),
        "bregman": ("bregman_divergence",),
        "chains": ("Chains", "Sampling", "Summary", "sample_chain"),
        "composition": ("Blocks", "Compose", "Independent", "Inverse", "to_support"),
        "conditioned": ("Autoregressive", "Coupling", "affine_element", "spline_element"),
        "conjugate": (
            "Conjugate", "beta_bernoulli", "dirichlet_categorical", "gamma_exponential", "gamma_poisson",
            "normal_gamma_normal", "normal_normal",
        ),
        "diagnostics": ("ess", "ess_bulk", "ess_tail", "mcse", "rhat"),
        "divergences": (
            "cross_entropy", "entropy", "gaussian_entropy", "gaussian_kl", "js", "kl", "kl_by_sampling", "reverse_kl",
        ),
        "elbos": ("MovingBaseline", "elbo", "leave_one_out"),
        "elementwise": ("Affine", "Exp", "Identity", "LeakyReLU", "Logit", "Power", "Sigmoid", "Softplus", "Tanh"),
        "enumeration": ("enumerate_runs",),
        "exponential_family": (
            "FAMILIES", "ExponentialFamily", "bernoulli", "beta", "categorical", "dirichlet", "gamma", "gaussian",
            "gaussian_mean", "normal_gamma", "poisson",
        ),
        "fdivergence": ("critic_bound", "f_divergence", "optimal_critic"),
        "gibbs": ("Conditional", "Gibbs", "gaussian_conditionals"),
        "guides": ("Bits", "Guide", "PushedNormal", "bits_guide", "flow_guide", "full_rank", "mean_field"),
        "hamiltonian": ("HMC", "leapfrog"),
        "importance": ("importance_sampling",),
        "kernel": ("Info", "Kernel"),
        "laplace": ("LaplaceLogistic", "laplace_logistic"),
        "linear": ("Permutation", "Triangular"),
        "metropolis": ("MetropolisHastings", "RandomWalk", "symmetric"),
        "monte_carlo_dropout": (
            "ClassUncertainty", "Moments", "class_uncertainty", "dropout_on", "dropout_samples", "predictive_moments",
        ),
        "posterior": ("Fitted", "Posterior", "fit_posterior", "sample_posterior"),
        "program": (
            "Site", "Trace", "condition", "factor", "handled", "observe", "plate", "replay", "require", "sample",
            "seeded", "trace",
        ),
        "simplex": ("StickBreaking",),
        "spline": ("RationalQuadraticSpline",),
        "trace_metropolis": ("single_site",),
        "unconstrained": ("Unconstrained",),
        "variational": ("fit_guide",),
        "wasserstein": ("Transport", "sinkhorn", "wasserstein_distance", "wasserstein_on_grid"),
        "weighted": ("Weighted",),
    },
)  # fmt: skip
