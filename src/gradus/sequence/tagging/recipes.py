"""The recipe of tagging, as flat typed data. Imports no torch: building does."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from gradus import canon as registry
from gradus.canon import canon
from gradus.engine.recipe import Build, positive
from gradus.errors import GradusError
from gradus.sequence.recipe import SequenceRecipe

if TYPE_CHECKING:
    from gradus.data.tagged import TaggedSplits
    from gradus.engine.descent import Descend
    from gradus.engine.run import Run
    from gradus.sequence.tagging.product import TextTagger

__all__ = ["Tag"]

PRETRAINED = ("bert", "elmo")  # hold an encoder that can be pretrained, and want special tokens around a sentence
# AdamW's usual rate is that of a deep network; a small recurrent one has further to go.
RATES = {**dict.fromkeys(("rnn", "gru", "lstm"), 5e-3), "bert": 3e-4, "elmo": 3e-3}


@canon(
    "sequence/tag",
    kind="recipe",
    paper="Schuster & Paliwal 1997, Bidirectional recurrent neural networks",
    names=("sequence/tag",),
)
@dataclass(frozen=True, kw_only=True)
class Tag(SequenceRecipe):
    """Train a tagger of tokens: gradus train sequence/tag --data sentences.conll."""

    data: str = "python-roles"
    """A registered set (`gradus list --kind tag-set`), a CoNLL or JSONL file, or a folder with train, val and test."""
    model: str = "lstm"
    """The method: rnn, gru, lstm, bert or elmo (`gradus list --kind tagger`); --set bidirectional=false layers=2 …"""
    tokenizer: Literal["auto", "word", "char", "bpe", "wordpiece"] = "auto"
    """How a token becomes ids; auto is word, and wordpiece for bert."""
    vocabulary: int | None = None
    """Most tokens that are known; every one that is seen often enough when left out."""
    least: int = 2
    """How often a token must be seen to be known."""
    lowercase: bool = False
    """Bring tokens to small letters."""
    from_run: str | None = None
    """Start from the weights and the tokenizer of a pretrained encoder's run (also spelled --from)."""
    freeze: Literal["none", "trunk"] = "none"
    """trunk: leave the pretrained encoder as it is and train what stands on it."""

    capabilities: ClassVar[tuple[str, ...]] = ("predict",)
    best: ClassVar[tuple[str, Literal["min", "max"]]] = ("val/f1", "max")

    def __post_init__(self) -> None:
        """Check every option without importing torch."""
        super().__post_init__()
        positive(self, "vocabulary", "least")
        registry.lookup("tagger", self.model, "model")
        if self.from_run is not None and self.model not in PRETRAINED:
            raise GradusError(
                f"--from starts from a text encoder, which the model {self.model} does not hold: use bert or elmo"
            )
        if self.freeze != "none" and self.from_run is None:
            raise GradusError(
                "--freeze trunk trains only what stands on the encoder, so it must come from somewhere: add --from RUN"
            )

    def parts(self) -> dict[str, registry.Entry]:
        """Return what `--set` reaches: model, optimiser and schedule."""
        return {"model": registry.lookup("tagger", self.model, "model"), **super().parts()}

    def fixed(self) -> Sequence[str]:
        """Return the options of parts that the data or another flag decides."""
        return (*super().fixed(), "name", "classes", "padding")

    def splits(self) -> "TaggedSplits":
        """Return the data of the run."""
        from gradus.data.tagged import load_tagged

        return load_tagged(self.data, data_dir=self.data_dir, limit=self.limit, **self.division)

    def build(self, run: "Run") -> Build:
        """Return the learner, the source and what watches them."""
        from gradus.sequence.tagging.building import build

        return build(self, run)

    def product(self, learner: "Descend") -> "TextTagger":
        """Return the tagger with the weights that the learner holds, averaged ones where there are any."""
        from gradus.sequence.tagging.product import TextTagger

        with learner.averaged():
            module = copy.deepcopy(learner.network).float().eval()
        return TextTagger(module, *learner.facts)

    def evaluate(self, product: "TextTagger", split: str, device: str = "auto") -> dict[str, float]:
        """Return loss, accuracy and F₁ on a split."""
        from gradus.sequence.tagging.building import truth_of
        from gradus.sequence.tagging.measures import of_tags

        splits = self.splits()
        if splits.tags != tuple(product.classes):
            raise GradusError(f"the data {self.data!r} has other tags now than when the run was trained")
        part = {"train": splits.train, "val": splits.val, "test": splits.test}[split]
        if not len(part):
            raise GradusError(f"the {split} part of {self.data!r} is empty: choose another --split")
        logs = product.predict(part.tokens).clamp(min=1e-300).log()
        lengths = [len(sentence) for sentence in part.tokens]
        return of_tags(logs.cpu(), truth_of(part, splits.tags), splits.tags, lengths, splits.spans, split)
