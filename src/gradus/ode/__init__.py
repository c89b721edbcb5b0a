"""Differential equations and fixed points: solvers, gradients through them, and the layers made of them.

Names resolve on first use, so importing this is free. `odeint` and `solve` integrate, `fixed_point` and
`implicit_fixed_point` find equilibria, `NeuralODE` and `DeepEquilibrium` are those as modules.
"""

from gradus.lazy import attach

__all__ = [
    "DeepEquilibrium", "DenseOutput", "Event", "FixedPoint", "NeuralODE", "Solution", "Statistics", "Tableau",
    "fixed_point", "implicit_fixed_point", "odeint", "odeint_event", "solve",
]  # fmt: skip

__getattr__, __dir__ = attach(
    __name__,
    {
        "dense": ("DenseOutput",),
        "events": ("Event",),
        "fixed_points": ("FixedPoint", "fixed_point"),
        "implicit_gradient": ("implicit_fixed_point",),
        "neural": ("DeepEquilibrium", "NeuralODE"),
        "settings": ("Statistics",),
        "solving": ("Solution", "odeint", "odeint_event", "solve"),
        "tableaus": ("Tableau",),
    },
)
