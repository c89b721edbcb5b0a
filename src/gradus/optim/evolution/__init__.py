"""Evolution strategies: black-box minimisation by `ask` and `tell`; names resolve on first use.

`CMAES` is the one to begin with up to some hundreds of dimensions, `RestartedCMAES` where there are many local minima;
`NES` and `CrossEntropy` scale to larger ones, `DistributedES` to networks and many machines. `evolve` runs any of them
on a batched objective.
"""

from gradus.lazy import attach

__all__ = [
    "Best", "CMAES", "CrossEntropy", "DistributedES", "Evolved", "GaussianES", "NES", "RestartedCMAES", "Strategy",
    "evolve",
]  # fmt: skip

__getattr__, __dir__ = attach(
    __name__,
    {
        "cma_es": ("CMAES",),
        "cross_entropy": ("CrossEntropy",),
        "distributed": ("DistributedES",),
        "gaussian": ("GaussianES",),
        "journal": ("Best",),
        "natural": ("NES",),
        "restarts": ("RestartedCMAES",),
        "strategy": ("Evolved", "Strategy", "evolve"),
    },
)
