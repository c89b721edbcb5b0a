"""A tagger ready to be used: tokens of sentences in, a tag with its probability for each out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradus import canon as registry
from gradus.canon import canon
from gradus.data.ragged import padded
from gradus.engine.capabilities import InputBatch
from gradus.engine.product import load_weights, save_product
from gradus.engine.state import State
from gradus.sequence.tagging.reading import Reader, Reading

__all__ = ["TextTagger", "build_tagger", "log_probabilities"]

AT_ONCE = 128


def build_tagger(name: str, *, vocabulary: int, classes: int, padding: int, **settings: Any) -> nn.Module:
    """Return the tagger that a user's name means.

    Args:
        name: as registered.
        vocabulary: number of tokens.
        classes: number of tags.
        padding: id of the padding.
        settings: the model's own.
    """
    entry = registry.lookup("tagger", name, "model")
    named = {"name": name.lower()} if "name" in entry.parameters else {}
    return registry.load(entry)(**named, vocabulary=vocabulary, classes=classes, padding=padding, **settings)


def log_probabilities(
    network: nn.Module, read: Reading, padding: int, device: torch.device
) -> Float[Tensor, "tokens tags"]:
    """Return ln p of each tag for all tokens in their order, in float64, sentences of alike length computed together.

    Args:
        network: in evaluation mode.
        read: the sentences.
        padding: id of the padding.
        device: of the network.
    """
    found, places = [], []
    for rows in read.tokens.lengths.argsort(stable=True).split(AT_ONCE):
        tokens, lengths = padded(read.tokens, rows, padding)
        firsts = padded(read.firsts, rows, -100)[0]
        scores = network(tokens.to(device), lengths)[(firsts >= 0).to(device)]
        found.append(scores.double().log_softmax(1).cpu())
        places.append(firsts[firsts >= 0])
    return torch.cat(found)[torch.cat(places).argsort()]


@canon("sequence/tagger", kind="product", names=("tagger",))
class TextTagger:
    """A tagger of tokens.

    Args:
        module: ids to scores of the tags at every place.
        reader: tokens to ids.
        classes: the tags, in the order of the scores.
        facts: `model` and its `settings`, and whether the tags mark `spans`.
    """

    kind = "a tagger"

    def __init__(self, module: nn.Module, reader: Reader, classes: Sequence[str], facts: State) -> None:
        self.module, self.reader, self.classes, self.facts = module, reader, tuple(classes), facts

    def __repr__(self) -> str:
        return f"TextTagger({self.facts['model']}, {len(self.reader):,} tokens, {len(self.classes)} tags)"

    @property
    def device(self) -> torch.device:
        """Where the product computes."""
        return next(self.module.parameters()).device

    def predict(self, inputs: Sequence[Sequence[str]]) -> Float[Tensor, "tokens tags"]:
        """Return the probabilities of the tags of all tokens, sentence after sentence.

        Args:
            inputs: tokens of each sentence.
        """
        if not any(inputs):
            return torch.empty(0, len(self.classes), dtype=torch.float64)
        with torch.inference_mode():
            return log_probabilities(self.module, self.reader.read(inputs), self.reader.padding, self.device).exp()

    def tags(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """Return the likeliest tag of each token of each sentence."""
        best = self.predict(sentences).argmax(1).split([len(sentence) for sentence in sentences])
        return [[self.classes[i] for i in part.tolist()] for part in best]

    def read(self, path: Path, batch_size: int = AT_ONCE) -> Iterator[InputBatch]:
        """Read sentences in batches; every token has a name, `sentence:place token`.

        Args:
            path: CoNLL columns or JSON lines with or without tags, or plain text, a sentence a line.
            batch_size: sentences of a batch.

        Raises:
            GradusError: naming the line that cannot be read.
        """
        from gradus.data.tagged import read_tokens

        sentences = read_tokens(path)
        for at in range(0, len(sentences), batch_size):
            part = sentences[at : at + batch_size]
            names = [f"{at + i}:{j} {word}" for i, own in enumerate(part, 1) for j, word in enumerate(own, 1)]
            yield InputBatch(names, part)

    def given(self, text: str) -> InputBatch:
        """Return a sentence, its tokens apart by blanks, as an input."""
        words = text.split()
        return InputBatch([f"1:{j} {word}" for j, word in enumerate(words, 1)], [words])

    def save(self, folder: Path) -> None:
        """Write `product/`: weights, tokenizer, and what is needed to build the model again."""
        tokenizer = self.reader.tokenizer
        described = {
            **self.facts, "classes": list(self.classes), "longest": self.reader.longest,
            "frame": list(self.reader.frame), "tokenizer": tokenizer.fingerprint,
        }  # fmt: skip
        save_product(folder, "tagger", described, {"model": dict(self.module.state_dict())})
        self.reader.save(folder)

    @classmethod
    def load(cls, folder: Path, facts: State) -> "TextTagger":
        """Build the model from `product.json` and load its weights and tokenizer."""
        reader = Reader.load(folder, facts["tokenizer"], facts["longest"], facts["frame"])
        module = build_tagger(
            facts["model"], vocabulary=len(reader), classes=len(facts["classes"]), padding=reader.padding,
            **facts["settings"],
        )  # fmt: skip
        load_weights(module, folder)
        kept = {key: facts[key] for key in ("model", "settings", "spans")}
        return cls(module.eval(), reader, facts["classes"], kept)
