"""A classifier of texts ready to be used: text in, class probabilities out, and what each piece of it speaks for.

`product.json` names model, sizes and classes; beside the weights lies the vocabulary, `tokenizer.json` or `terms.json`,
and a hash of it in `product.json`, so that neither is ever used with the other of another run.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradus.canon import canon
from gradus.data.ragged import padded
from gradus.engine.capabilities import InputBatch
from gradus.engine.product import load_weights, save_product
from gradus.engine.state import State
from gradus.errors import GradusError
from gradus.sequence.classification.models import build
from gradus.sequence.classification.reading import Reader

__all__ = ["TextClassifier", "log_probabilities"]

AT_ONCE = 256
Text = str | tuple[str, str]


def log_probabilities(
    network: nn.Module, reader: Reader, texts: Sequence[str], pairs: Sequence[str] | None, device: torch.device
) -> Float[Tensor, "texts classes"]:
    """Return ln p of each class for any number of texts, in float64, those of alike length computed together.

    Args:
        network: in evaluation mode.
        reader: texts to ids.
        texts: any number.
        pairs: as many second texts, where texts are pairs.
        device: of the network.
    """
    columns = reader.read(texts, pairs).columns
    order = columns["tokens"].lengths.argsort(stable=True)
    found: list[Tensor] = []
    for rows in order.split(AT_ONCE):
        tokens, lengths = padded(columns["tokens"], rows, reader.padding)
        segments = padded(columns["segments"], rows)[0].to(device) if "segments" in columns else None
        found.append(network(tokens.to(device), lengths, segments).double().log_softmax(1))
    return torch.cat(found)[order.argsort().to(device)] if found else torch.empty(0, 0, dtype=torch.float64)


def _both(text: Text) -> tuple[str, str | None]:
    return (text, None) if isinstance(text, str) else text


@canon("sequence/text-classifier", kind="product", names=("text-classifier",))
class TextClassifier:
    """A classifier of texts.

    Args:
        module: ids to scores.
        reader: texts to ids.
        classes: names, in the order of the scores.
        facts: `model`, its `settings`, and `columns` of the data it was trained on.
    """

    kind = "a classifier of texts"

    def __init__(self, module: nn.Module, reader: Reader, classes: Sequence[str], facts: State) -> None:
        self.module, self.reader, self.classes, self.facts = module, reader, tuple(classes), facts

    def __repr__(self) -> str:
        return f"TextClassifier({self.facts['model']}, {len(self.reader):,} tokens, {len(self.classes)} classes)"

    @property
    def device(self) -> torch.device:
        """Where the product computes."""
        return next(self.module.parameters()).device

    @property
    def model(self) -> str:
        """The registered name of the module."""
        return self.facts["model"]

    @property
    def settings(self) -> State:
        """What the module was built with."""
        return self.facts["settings"]

    @property
    def tokenizer(self) -> Any:
        """Pieces of text to ids."""
        return self.reader.tokenizer

    def predict(self, inputs: Sequence[str] | Sequence[tuple[str, str]]) -> Float[Tensor, "texts classes"]:
        """Return class probabilities of texts, or of pairs of texts.

        Raises:
            GradusError: if texts come where pairs are wanted, or the other way round.
        """
        paired = len(self.facts["columns"]) > 1
        texts: list[Any] = list(inputs)
        if any(isinstance(text, str) == paired for text in texts):
            columns = " and ".join(self.facts["columns"])
            wanted, given, remedy = (
                ("pairs of texts", "single ones", f"give a file with the columns {columns}")
                if paired
                else ("single texts", "pairs", "give one text a time")
            )
            raise GradusError(f"this classifier was trained on {wanted} and cannot judge {given}: {remedy}")
        firsts, seconds = ([a for a, _ in texts], [b for _, b in texts]) if paired else (texts, None)
        if not texts:
            return torch.empty(0, len(self.classes), dtype=torch.float64)
        with torch.inference_mode():
            return log_probabilities(self.module, self.reader, firsts, seconds, self.device).exp()

    def read(self, path: Path, batch_size: int = AT_ONCE) -> Iterator[InputBatch]:
        """Read texts in batches: the lines of a file, a column of a CSV, TSV or JSONL file, or the files of a folder.

        Raises:
            GradusError: if nothing can be read, or the column that the classifier was trained on is missing.
        """
        from gradus.data.labelled_text import texts_of

        names, texts, pairs = texts_of(path, self.facts["columns"])
        inputs = texts if pairs is None else list(zip(texts, pairs, strict=True))
        for at in range(0, len(names), batch_size):
            yield InputBatch(names[at : at + batch_size], inputs[at : at + batch_size])

    def given(self, text: str) -> InputBatch:
        """Return a text as an input."""
        return InputBatch([text], [text])

    # -- piece by piece -----------------------------------------------------------------------------------------------

    def pieces(self, text: Text) -> list[tuple[int, int]]:
        """Return where each piece that is read begins and ends in the text; special tokens are nowhere.

        The texts of a pair count as one, with a line break between.
        """
        return [place or (0, 0) for place in self.reader.places(*_both(text))]

    def embedded(self, text: Text) -> Float[Tensor, "1 time width"]:
        """Return what is read at each piece."""
        return self._embed(*self._one(text))

    def absent(self, text: Text) -> Float[Tensor, "1 time width"]:
        """Return what would be read if every piece of the text were padding; special tokens stay."""
        tokens, lengths, segments = self._one(text)
        own = torch.ones_like(tokens, dtype=torch.bool)
        own[0, [i for i, place in enumerate(self.reader.places(*_both(text))) if place is None]] = False
        return self._embed(tokens.masked_fill(own, self.reader.padding), lengths, segments)

    def scores_of(self, embedded: Float[Tensor, "batch time width"]) -> Float[Tensor, "batch classes"]:
        """Return the logits, given what is read; differentiable."""
        with self._differentiable():
            return self.module.from_embedded(embedded, torch.full((len(embedded),), embedded.shape[1]))  # type: ignore[operator]

    def _one(self, text: Text) -> tuple[Tensor, Tensor, Tensor | None]:
        first, second = _both(text)
        columns = self.reader.read([first], None if second is None else [second]).columns
        row = torch.tensor([0])
        tokens, lengths = padded(columns["tokens"], row, self.reader.padding)
        segments = padded(columns["segments"], row)[0].to(self.device) if "segments" in columns else None
        return tokens.to(self.device), lengths, segments

    def _embed(self, tokens: Tensor, lengths: Tensor, segments: Tensor | None) -> Tensor:
        with torch.no_grad():
            return self.module.embed(tokens, lengths, segments)  # type: ignore[operator]

    def _differentiable(self) -> AbstractContextManager[Any]:
        """Return a context in which gradients exist in evaluation mode, which cuDNN's recurrent kernels refuse."""
        return torch.backends.cudnn.flags(enabled=False) if self.device.type == "cuda" else nullcontext()

    # -- keeping ------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write `product/`: weights, vocabulary, and what is needed to build the model again."""
        tokenizer = self.reader.tokenizer
        described = {
            **self.facts, "classes": list(self.classes), "vocabulary": len(tokenizer), "longest": self.reader.longest,
            "tokenizer": {"kind": tokenizer.kind, "fingerprint": tokenizer.fingerprint},
        }  # fmt: skip
        save_product(folder, "text-classifier", described, {"model": dict(self.module.state_dict())})
        self.reader.save(folder)

    @classmethod
    def load(cls, folder: Path, facts: State) -> "TextClassifier":
        """Build the model from `product.json` and load its weights and vocabulary."""
        held, frame = facts["tokenizer"], facts["frame"]
        reader = Reader.load(folder, held["kind"], held["fingerprint"], facts["longest"], frame)
        module = build(
            facts["model"], vocabulary=facts["vocabulary"], classes=len(facts["classes"]), padding=reader.padding,
            **facts["settings"],
        )  # fmt: skip
        load_weights(module, folder)
        kept = {key: facts[key] for key in ("model", "settings", "frame", "columns")}
        return cls(module.eval(), reader, facts["classes"], kept)
