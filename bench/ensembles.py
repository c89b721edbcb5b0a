"""Five networks trained apart on one division of the digits, alone and together.

    lead = accuracy of the mean probability − accuracy of the best member

All members learn from the same images with the same settings; they differ in their initial weights and in the order of
the batches. Nothing is selected: the members are all that were trained.
"""

import tempfile
from pathlib import Path

from gradus.engine.ensembles import Ensemble
from gradus.engine.folder import RunFolder
from gradus.engine.group import member
from gradus.engine.product import load_product
from gradus.engine.training import train
from gradus.vision.recipes import Classify

__all__ = ["digits"]


def digits(members: int = 5, epochs: int = 20) -> dict[str, float]:
    """Train the members, and test each, their mean and their vote.

    Args:
        members: how many.
        epochs: for which each is trained.
    """
    recipe = Classify(data="digits", model="lenet", max_epochs=epochs, augment="translate=0.1,rotate=10", device="cpu")
    products = []
    with tempfile.TemporaryDirectory() as home:
        for i in range(members):
            folder = RunFolder.create(Path(home, str(i)), "vision/classify", {})
            train(member(recipe, "ensemble", i), folder)
            products.append(load_product(folder.path, "cpu"))
        alone = [recipe.evaluate(product, "test") for product in products]
        together = {c: recipe.evaluate(Ensemble(products, "digits", c), "test") for c in ("mean", "vote")}
    accuracies = [found["test/accuracy"] for found in alone]
    return {
        "lead": together["mean"]["test/accuracy"] - max(accuracies),
        "mean": together["mean"]["test/accuracy"],
        "vote": together["vote"]["test/accuracy"],
        "best": max(accuracies),
        "worst": min(accuracies),
        "loss": together["mean"]["test/loss"],
        "least_loss": min(found["test/loss"] for found in alone),
    }
