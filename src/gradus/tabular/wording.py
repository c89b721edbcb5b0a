"""Linear models and trees in words: coefficients by their size, questions as nested rules, in the data's own units."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gradus.data.table import TableSchema
from gradus.tabular.decision_tree import Tree
from gradus.tabular.encoder import Encoder
from gradus.tabular.linear import Affine

__all__ = ["condition", "in_words"]

SHOWN = 40


def in_words(network: nn.Module, schema: TableSchema, encoder: Encoder) -> str:
    """Return what a model has learned, in words; nothing for a network.

    Args:
        network: features to outputs.
        schema: what the columns are.
        encoder: rows to features.
    """
    names = encoder.names(schema.features, schema.categories)
    if isinstance(network, Tree):
        return _tree(network, schema, encoder, names)
    return _affine(network, schema.classes, names) if isinstance(network, Affine) else ""


def condition(encoder: Encoder, names: Sequence[str], feature: int, threshold: float, above: bool) -> str:
    """Return a tree's question about a feature, answered: "age > 37.5", "sex = Female".

    Args:
        encoder: rows to features.
        names: of the features.
        feature: which.
        threshold: between its values.
        above: whether the value is above it.
    """
    name = names[feature]
    if feature < len(encoder.numbers):
        _, _, mean, deviation = encoder.numbers[feature]
        threshold = mean + deviation * threshold
    elif feature < encoder.plain and name.endswith(" is missing"):
        return name if above else name.removesuffix(" is missing") + " is there"
    elif feature < encoder.plain:
        return name if above else name.replace(" = ", " ≠ ", 1)
    return f"{name} {'>' if above else '≤'} {threshold:.6g}"


def _tree(tree: Tree, schema: TableSchema, encoder: Encoder, names: Sequence[str]) -> str:
    def conclusion(value: Tensor) -> str:
        if not schema.classes:
            return f"{schema.target} {float(value[0]):.6g}"
        best = int(value.argmax())
        return f"{schema.classes[best]} {float(value[best]):.0%}"

    shares = tree.importance()
    top = [i for i in shares.argsort(descending=True).tolist() if float(shares[i]) > 0][:SHOWN]
    width = max((len(names[i]) for i in top), default=0)
    lines = [f"{names[i]:<{width}}  {float(shares[i]):.3f}" for i in top]
    rules = tree.rules(lambda f, t, above: condition(encoder, names, f, t, above), conclusion)
    return "\n".join([f"{schema.target}, by {tree.leaves} rules (rows in brackets):", "", rules, "",
                      "share of each feature in the fall of impurity:", "", *lines])  # fmt: skip


def _affine(model: Affine, classes: Sequence[str], names: Sequence[str]) -> str:
    """Return the largest coefficients of standardised features; of two classes, those of the second's log-odds."""
    weight, bias = model.weight.detach(), model.bias.detach()
    titles = [f"score of {name}" for name in classes] or ["prediction"]
    if len(classes) == 2:
        weight, bias, titles = weight[1:] - weight[:1], bias[1:] - bias[:1], [f"log-odds of {classes[1]}"]
    blocks = []
    for title, row, constant in zip(titles, weight, bias, strict=True):
        order = row.abs().argsort(descending=True).tolist()
        zeros = int((row == 0).sum())
        shown = [i for i in order if row[i] != 0][:SHOWN]
        width = max((len(names[i]) for i in shown), default=0)
        lines = [f"{title}, for a change of one deviation (numbers) or from no to yes (categories):", ""]
        lines += [f"{'constant':<{width}}  {float(constant):+.6g}"]
        lines += [f"{names[i]:<{width}}  {float(row[i]):+.6g}" for i in shown]
        rest = torch.numel(row) - len(shown) - zeros
        lines += [f"and {rest} smaller ones"] * bool(rest) + [f"{zeros} are exactly zero"] * bool(zeros)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
