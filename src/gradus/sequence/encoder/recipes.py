"""The recipes of encoders, as flat typed data. Imports no torch: building does."""

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gradus import canon as registry
from gradus.canon import canon
from gradus.engine.options import between
from gradus.engine.recipe import Build, positive
from gradus.errors import GradusError
from gradus.sequence.recipe import SequenceRecipe

if TYPE_CHECKING:
    from gradus.engine.descent import Descend
    from gradus.engine.run import Run
    from gradus.sequence.encoder.product import TextEncoder
    from gradus.sequence.encoder.span_finder import SpanFinder

__all__ = ["Answer", "Pretrain"]

GLANCE = 50_000  # characters of each split that a fast_dev_run looks at
ONLY_BERT = ("mask", "whole_words", "next_sentence")


@canon(
    "sequence/pretrain",
    kind="recipe",
    paper="Devlin et al. 2019, BERT: pre-training of deep bidirectional Transformers for language understanding",
)
@dataclass(frozen=True, kw_only=True)
class Pretrain(SequenceRecipe):
    """Train an encoder on unlabelled text: gradus train sequence/pretrain --data file.txt."""

    data: str = "python-source"
    """A registered corpus (`gradus list --kind corpus`), a text file, a file of records or a folder of text files."""
    field: str = "text"
    """The field of the records that holds the text."""
    limit: int | None = None
    """Use at most this many characters of each split."""
    test_fraction: float = 0.1
    """Part of the text kept for testing, where the data has no test set."""
    model: str = "bert"
    """What is trained: bert (masked words) or elmo (two language models)."""
    tokenizer: Literal["auto", "wordpiece", "word", "char", "bpe"] = "auto"
    """How text is cut into tokens; auto is wordpiece for bert and word for elmo."""
    vocabulary: int = 8192
    """The most tokens, special ones included."""
    lowercase: bool = False
    """Bring text to small letters first."""
    context: int = 128
    """The most tokens of a text."""
    examples: Literal["auto", "lines", "passages"] = "auto"
    """A text is a line, or as many lines of a document as fit; auto is lines where there is one document."""
    next_sentence: bool = True
    """Also learn whether two passages follow each other, where there are documents of several lines."""
    mask: float = 0.15
    """Share of the tokens that is hidden."""
    whole_words: bool = False
    """Hide all pieces of a word, or none."""
    from_run: str | None = None
    """Go on from another run of this recipe, or from a folder with a BERT of transformers (also spelled --from)."""
    warmup: float = 0.1
    """Part of the steps in which the learning rate rises from zero."""
    clip: float | None = 1.0
    """Largest global gradient norm."""

    capabilities: ClassVar[tuple[str, ...]] = ("embed",)

    def __post_init__(self) -> None:
        """Check every option without importing torch."""
        super().__post_init__()
        between(self, 0.001, 1, "mask")
        if self.folds is not None:
            raise GradusError("--folds: text is divided once; leave it out, and vary --split-seed")
        if self.context < 8 or self.vocabulary < 16:
            raise GradusError("--context must be at least 8 and --vocabulary at least 16: raise the smaller one")
        if self.model != "bert":
            for name in ONLY_BERT:
                if getattr(self, name) != _default(self, name):
                    flag = name.replace("_", "-")
                    raise GradusError(f"--{flag}: the model {self.model} hides no words; leave it out, or use bert")

    def parts(self) -> dict[str, registry.Entry]:
        """Return what `--set` reaches: model, optimiser and schedule."""
        return {"model": registry.lookup("text-encoder", self.model, "model"), **super().parts()}

    def fixed(self) -> Sequence[str]:
        """Return the options of parts that the data or another flag decides."""
        return (*super().fixed(), "vocabulary", "padding", "context", "next_sentence")

    def corpus(self) -> Any:
        """Return the text of the run in its three parts."""
        from gradus.data.corpora import load_corpus

        limit = min(self.limit or GLANCE, GLANCE) if self.fast_dev_run else self.limit
        seed = self.seed if self.split_seed is None else self.split_seed
        return load_corpus(
            self.data, data_dir=self.data_dir, val_fraction=self.val_fraction, test_fraction=self.test_fraction,
            seed=seed, limit=limit, field=self.field,
        )  # fmt: skip

    def build(self, run: "Run") -> Build:
        """Return the learner, the source and what watches them."""
        from gradus.sequence.encoder.building import build

        return build(self, run)

    def product(self, learner: "Descend") -> "TextEncoder":
        """Return the encoder with the weights that the learner holds, averaged ones where there are any."""
        from gradus.sequence.encoder.product import TextEncoder

        with learner.averaged():
            module: Any = copy.deepcopy(learner.network).float().eval()
        return TextEncoder(module, **learner.facts)

    def evaluate(self, product: "TextEncoder", split: str, device: str = "auto") -> dict[str, float]:
        """Return nats a word, perplexity and shares that are right on a split."""
        from gradus.sequence.encoder.building import evaluate

        return evaluate(self, product, split)


@canon(
    "sequence/answer",
    kind="recipe",
    paper="Rajpurkar et al. 2016, SQuAD: 100,000+ questions for machine comprehension of text",
)
@dataclass(frozen=True, kw_only=True)
class Answer(SequenceRecipe):
    """Train a finder of answers in contexts: gradus train sequence/answer --data questions.jsonl."""

    data: str = "python-headers"
    """python-headers (questions about the standard library's functions), or a file of records with question, context,
    answer and start."""
    from_run: str | None = None
    """Start from the encoder of a run of sequence/pretrain, with its tokenizer (also spelled --from)."""
    tokenizer: Literal["wordpiece", "word", "bpe"] = "wordpiece"
    """How text is cut into tokens, without --from."""
    vocabulary: int = 4096
    """The most tokens, special ones included, without --from."""
    lowercase: bool = False
    """Bring text to small letters first, without --from."""
    context: int = 128
    """The most tokens of question and context together, without --from; longer contexts are read in windows."""
    stride: int = 32
    """Tokens that two windows of a context share."""
    longest: int = 30
    """The most tokens of an answer."""
    warmup: float = 0.1
    """Part of the steps in which the learning rate rises from zero."""
    clip: float | None = 1.0
    """Largest global gradient norm."""

    capabilities: ClassVar[tuple[str, ...]] = ("answer", "embed")
    best: ClassVar[tuple[str, Literal["min", "max"]]] = ("val/f1", "max")

    def __post_init__(self) -> None:
        """Check every option without importing torch."""
        super().__post_init__()
        positive(self, "longest")
        if self.context < 16 or self.vocabulary < 16:
            raise GradusError("--context and --vocabulary must be at least 16: raise the smaller one")
        if not 0 <= self.stride < self.context // 2 - 1:
            raise GradusError(f"--stride {self.stride} leaves no room to go on: choose at most {self.context // 2 - 2}")

    def parts(self) -> dict[str, registry.Entry]:
        """Return what `--set` reaches: the encoder, optimiser and schedule."""
        return {"model": registry.lookup("text-encoder", "bert", "model"), **super().parts()}

    def fixed(self) -> Sequence[str]:
        """Return the options of parts that the data or another flag decides."""
        return (*super().fixed(), "vocabulary", "padding", "context", "next_sentence")

    def build(self, run: "Run") -> Build:
        """Return the learner, the source and what watches them."""
        from gradus.sequence.encoder.answering import build

        return build(self, run)

    def product(self, learner: "Descend") -> "SpanFinder":
        """Return the finder with the weights that the learner holds, averaged ones where there are any."""
        from gradus.sequence.encoder.span_finder import SpanFinder

        with learner.averaged():
            module: Any = copy.deepcopy(learner.network).float().eval()
        return SpanFinder(module, **learner.facts)

    def evaluate(self, product: "SpanFinder", split: str, device: str = "auto") -> dict[str, float]:
        """Return the shares of exact answers and the mean F₁ on a split."""
        from gradus.sequence.encoder.answering import evaluate

        return evaluate(self, product, split)


def _default(recipe: Any, name: str) -> Any:
    return next(field.default for field in dataclasses.fields(recipe) if field.name == name)
