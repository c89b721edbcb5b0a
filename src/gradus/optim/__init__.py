"""Optimisation: update rules, schedules, clipping, averages; names resolve on first use, so importing this is free.

Rules are made by registered functions (`gradus.optim.adam.adamw(lr=1e-3)`; by name, `gradus.optim.rule.make("adamw")`);
`SGD`, `AdamW`, `Yogi`, … are `torch.optim.Optimizer` classes over them for people's own loops. `minimize(fn, x0)` finds
the minimum of a function of a tensor, with constraints or without.
"""

from gradus.lazy import attach

__all__ = [
    "AMSGrad", "AdaGrad", "Adadelta", "Adagrad", "Adam", "AdamHD", "AdamW", "ArithmeticMomentum", "CMAES",
    "CrossEntropy", "DistributedES", "EMA", "Equilibrium", "Evolved", "Finding", "GaussianES", "Minimum", "NAdam",
    "NES", "NesterovHD", "NoisySGD", "Part", "Plateau", "RMSprop", "RestartedCMAES", "Rule", "RuleOptimizer",
    "SGD", "SGDHD", "SURFACES", "Schedule", "Strategy", "Surface", "Yogi", "augmented_lagrangian", "clip_norm_",
    "clip_value_", "evolve", "find_learning_rate", "find_minimax", "fista", "global_norm", "is_local_minimax",
    "ista", "minimize", "noisy", "project_ball", "project_box", "project_l1_ball", "project_simplex",
    "projected_gradient", "restore", "soft_threshold",
]  # fmt: skip

__getattr__, __dir__ = attach(
    __name__,
    {
        "adapters": (
            "AMSGrad", "AdaGrad", "Adadelta", "Adagrad", "Adam", "AdamHD", "AdamW", "ArithmeticMomentum", "NAdam",
            "NesterovHD", "NoisySGD", "RMSprop", "RuleOptimizer", "SGD", "SGDHD", "Yogi",
        ),
        "clip": ("clip_norm_", "clip_value_", "global_norm"),
        "constrained": ("augmented_lagrangian",),
        "ema": ("EMA",),
        "evolution": (
            "CMAES", "CrossEntropy", "DistributedES", "Evolved", "GaussianES", "NES", "RestartedCMAES", "Strategy",
            "evolve",
        ),
        "lr_finder": ("Finding", "find_learning_rate"),
        "minimax": ("Equilibrium", "find_minimax"),
        "minimizing": ("minimize",),
        "noise": ("noisy",),
        "objective": ("Minimum",),
        "plateau": ("Plateau",),
        "projections": ("project_ball", "project_box", "project_l1_ball", "project_simplex"),
        "proximal": ("fista", "ista", "projected_gradient", "soft_threshold"),
        "ridge": ("is_local_minimax",),
        "rule": ("Part", "Rule", "restore"),
        "schedules": ("Schedule",),
        "surfaces": ("SURFACES", "Surface"),
    },
)  # fmt: skip
