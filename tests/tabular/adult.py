"""The evidence for networks on tables: a multilayer perceptron against logistic regression on the adult data.

Both have the same features from the same rows; what is to be chosen is chosen on a part of the training rows, and the
authors' test rows are looked at once for each seed. Logistic regression has no seed but that of the split.
"""

from collections.abc import Sequence

from gradus.engine.loop import fit
from gradus.engine.run import Run
from gradus.tabular.recipes import Classify

__all__ = ["evidence"]


def evidence(
    seeds: Sequence[int] = (0, 1, 2), max_epochs: int = 10, limit: int | None = None, data: str = "adult"
) -> dict[str, float]:
    """Return mean test accuracies, losses and areas under the curve of both, and the network's lead.

    Args:
        seeds: of the split, the weights and the order of rows.
        max_epochs: of the network.
        limit: the most rows of each part.
        data: a table of two classes.
    """
    sums: dict[str, float] = {}
    for seed in seeds:
        settings = {"data": data, "seed": seed, "limit": limit}
        recipes = {
            "mlp": Classify(**settings, model="mlp", max_epochs=max_epochs, dropout=0.2, lr=0.002),
            "logistic": Classify(**settings, model="logistic"),
        }
        for name, recipe in recipes.items():
            run = Run.ephemeral(seed=seed)
            parts = recipe.build(run)
            fit(parts.learner, parts.source, run=run, steps=parts.steps, watchers=parts.watchers)
            for key, value in recipe.evaluate(recipe.product(parts.learner), "test").items():
                key = f"{name} {key.removeprefix('test/')}"
                sums[key] = sums.get(key, 0.0) + value / len(seeds)
    sums["lead in accuracy"] = sums["mlp accuracy"] - sums["logistic accuracy"]
    sums["lead in loss"] = sums["logistic loss"] - sums["mlp loss"]
    return sums
