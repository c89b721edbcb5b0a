"""Building classifiers of texts by name, and taking over weights."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gradus import canon
from gradus.engine.state import State
from gradus.errors import GradusError

__all__ = ["adopt_vectors", "build", "transfer"]


def build(name: str, *, vocabulary: int, classes: int, padding: int = 0, **settings: Any) -> nn.Module:
    """Return the classifier that a user's name means.

    Args:
        name: as registered.
        vocabulary: number of tokens.
        classes: number of classes.
        padding: id of the padding.
        settings: the model's own; lists of JSON are taken for tuples.

    Raises:
        GradusError: for an unknown name, or what the model refuses.
    """
    entry = canon.lookup("text-classifier", name, "model")
    plain: State = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    named = {"name": name.lower()} if "name" in entry.parameters else {}
    return canon.load(entry)(**named, vocabulary=vocabulary, classes=classes, padding=padding, **plain)


def transfer(origin: nn.Module, network: nn.Module, same_classes: bool, run: str) -> None:
    """Copy the weights of another run: of a classifier all, but a head for other classes; of an encoder the trunk.

    Args:
        origin: has a `trunk`, and a `head` if it is a classifier.
        network: of the same form.
        same_classes: whether both tell the same classes apart, in the same order.
        run: the other run's name, for the sentence.

    Raises:
        GradusError: if the forms differ.
    """
    own, theirs = network.state_dict(), origin.state_dict()
    wanted = [key for key in own if key.startswith("trunk.") or hasattr(origin, "head")]
    wanted = [key for key in wanted if same_classes or not key.startswith("head.")]
    odd = [key for key in wanted if key not in theirs or theirs[key].shape != own[key].shape]
    odd += [key for key in theirs if key.startswith("trunk.") and key not in own]
    if odd or not wanted:
        raise GradusError(
            f"--from {run}: that run's model has another form{f' ({odd[0]})' if odd else ''}; give this one the same "
            "--model and sizes"
        )
    network.load_state_dict({key: theirs[key] for key in wanted}, strict=False)


@torch.no_grad()
def adopt_vectors(network: nn.Module, tokens: Mapping[str, int], vectors: Mapping[str, Tensor]) -> int:
    """Put vectors from elsewhere in place of the network's own; return how many tokens found theirs.

    They are brought to the spread of the network's own, so that words with and without one are alike.

    Args:
        network: has `vectors`.
        tokens: ids by token.
        vectors: by word.
    """
    own: Any = network.vectors.weight  # type: ignore[union-attr]
    found = {id: vectors[token] for token, id in tokens.items() if token in vectors}
    if not found:
        return 0
    stacked = torch.stack(list(found.values())).to(own)
    spread = own[own.abs().sum(1) > 0].std()
    own[torch.tensor(list(found))] = stacked * (spread / stacked.std().clamp(min=1e-12))
    return len(found)
