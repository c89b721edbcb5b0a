"""What a product can do, as small run-time checkable protocols; every verb of the command line asks for one.

A product takes raw inputs (pixels in [0, 1], text, table rows): preprocessing lives inside it, so that an attack or an
explanation can never be wrong by a normalisation.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from gradus.errors import GradusError

__all__ = [
    "CAPABILITIES",
    "Acts",
    "Answers",
    "Completes",
    "Embeds",
    "Explains",
    "Exports",
    "Highlights",
    "InputBatch",
    "Predicts",
    "Product",
    "Regresses",
    "Samples",
    "Scores",
    "Translates",
    "ask",
]


class InputBatch(NamedTuple):
    """Raw inputs read from a user's files, with the name of each."""

    names: list[str]
    inputs: Tensor | Sequence[Any]


@runtime_checkable
class Product(Protocol):
    """What was learned, ready to be used and kept: loading needs no training data, no recipe, no user code."""

    module: nn.Module

    def save(self, folder: Path) -> None: ...


@runtime_checkable
class Predicts(Protocol):
    """Gives one of its classes, with probabilities, for a raw input."""

    classes: Sequence[str]

    def predict(self, inputs: Any) -> Tensor: ...

    def read(self, path: Path) -> Iterator[InputBatch]: ...


@runtime_checkable
class Regresses(Protocol):
    """Gives a number, called `target`, for a raw input."""

    @property
    def target(self) -> str: ...

    def predict(self, inputs: Any) -> Tensor: ...

    def read(self, path: Path) -> Iterator[InputBatch]: ...


@runtime_checkable
class Explains(Protocol):
    """Is a differentiable function of a raw input, with a layer to look into."""

    def scores(self, inputs: Tensor) -> Tensor: ...

    @property
    def feature_map(self) -> nn.Module: ...


@runtime_checkable
class Exports(Protocol):
    """Can be written as one `torch.export` program with its preprocessing inside."""

    def exportable(self) -> tuple[nn.Module, Tensor]: ...


@runtime_checkable
class Samples(Protocol):
    """Draws new examples."""

    def sample(self, shape: Sequence[int], *, seed: int = 0) -> Tensor: ...


@runtime_checkable
class Scores(Protocol):
    """Gives the log-density of an example."""

    def log_prob(self, x: Tensor) -> Tensor: ...


@runtime_checkable
class Highlights(Protocol):
    """Reads text piece by piece, as a differentiable function of what it reads: its pieces can be given their share.

    What is read is a text, or a pair of texts where a product judges pairs; a pair's places are those in both texts
    joined by a line break.

    `pieces` are where each token begins and ends in the text, `embedded` is what is read at each of them, and
    `scores_of` goes on from there to the scores of the classes; `absent` is what is read where nothing stands.
    """

    classes: Sequence[str]

    def pieces(self, text: Any) -> list[tuple[int, int]]: ...

    def embedded(self, text: Any) -> Tensor: ...

    def absent(self, text: Any) -> Tensor: ...

    def scores_of(self, embedded: Tensor) -> Tensor: ...


@runtime_checkable
class Answers(Protocol):
    """Finds the answer to a question in a text."""

    def answer(self, questions: Sequence[Any]) -> list[Any]: ...

    def read(self, path: Path) -> Iterator[InputBatch]: ...


@runtime_checkable
class Completes(Protocol):
    """Goes on with a text, piece by piece."""

    def complete(self, prompt: str, **settings: Any) -> Iterator[str]: ...


@runtime_checkable
class Translates(Protocol):
    """Gives a text for a text."""

    def translate(self, texts: Sequence[str], **settings: Any) -> list[str]: ...


@runtime_checkable
class Embeds(Protocol):
    """Gives a vector for each word or text."""

    def embed(self, texts: Sequence[str], **settings: Any) -> Tensor: ...


@runtime_checkable
class Acts(Protocol):
    """Chooses an action for an observation."""

    act: Callable[..., Any]


CAPABILITIES: dict[str, tuple[type, tuple[str, ...]]] = {
    "predict": (Predicts, ("predict", "report")),
    "regress": (Regresses, ("predict",)),
    "explain": (Explains, ("explain", "attack")),
    "highlight": (Highlights, ("explain",)),
    "export": (Exports, ("export",)),
    "sample": (Samples, ("sample",)),
    "score": (Scores, ("score",)),
    "answer": (Answers, ("predict",)),
    "complete": (Completes, ("complete",)),
    "translate": (Translates, ("translate",)),
    "embed": (Embeds, ("embed",)),
    "act": (Acts, ("play",)),
}


def ask(product: Any, capability: str, what: str, verb: str | None = None) -> Any:
    """Return the product if it has a capability.

    Args:
        product: any product.
        capability: a key of `CAPABILITIES`.
        what: the run's name, for the sentence.
        verb: what the user wanted; the capability's own verb when left out.

    Raises:
        GradusError: if it has not, saying what the run holds and what that can do.
    """
    protocol, _ = CAPABILITIES[capability]
    if isinstance(product, protocol):
        return product
    able = ["evaluate"] + [verb for kind, verbs in CAPABILITIES.values() if isinstance(product, kind) for verb in verbs]
    kind = getattr(product, "kind", type(product).__name__)
    raise GradusError(
        f"run {what!r} holds {kind}: it can {', '.join(able)}, not {verb or CAPABILITIES[capability][1][0]}"
    )
