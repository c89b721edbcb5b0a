"""Optimisation: update rules, schedules, clipping, averages; names resolve on first use, so importing this is free.

Rules are made by registered functions (`gradus.optim.adam.adamw(lr=1e-3)`; by name, `gradus.optim.rule.make("adamw")`);
`SGD`, `Adam`, `AdamW` and `RMSprop` are `torch.optim.Optimizer` classes over them for people's own loops.
"""

from gradus.lazy import attach

__all__ = [
    "EMA", "SGD", "Adam", "AdamW", "Part", "RMSprop", "Rule", "RuleOptimizer", "Schedule", "clip_norm_", "clip_value_",
    "global_norm", "restore",
]  # fmt: skip

__getattr__, __dir__ = attach(
    __name__,
    {
        "adapters": ("SGD", "Adam", "AdamW", "RMSprop", "RuleOptimizer"),
        "clip": ("clip_norm_", "clip_value_", "global_norm"),
        "ema": ("EMA",),
        "rule": ("Part", "Rule", "restore"),
        "schedules": ("Schedule",),
    },
)
