"""The recipe of classifying texts, as flat typed data. Imports no torch: building does."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

from gradus import canon as registry
from gradus.canon import canon
from gradus.engine.options import between
from gradus.engine.recipe import Build, positive
from gradus.errors import GradusError
from gradus.sequence.recipe import SequenceRecipe

if TYPE_CHECKING:
    from torch import nn

    from gradus.data.labelled_text import TextSplits
    from gradus.engine.descent import Descend
    from gradus.engine.run import Run
    from gradus.engine.updater import Updater
    from gradus.sequence.classification.product import TextClassifier

__all__ = ["BAGS", "Classify"]

BAGS = ("bow", "tfidf")
WORDY = ("rnn", "gru", "lstm", "cnn")  # begin with vectors of words, and want no special tokens around a text
# AdamW's usual rate is that of a deep network; the weights of a bag of words have further to go.
RATES = {**dict.fromkeys(BAGS, 0.03), "bert": 3e-4}
LONGEST = 400
CONTEXT = 128


@canon(
    "sequence/classify",
    kind="recipe",
    paper="Maron 1961, Automatic indexing: an experimental inquiry",
    names=("sequence/classify",),
)
@dataclass(frozen=True, kw_only=True)
class Classify(SequenceRecipe):
    """Train a classifier of texts: gradus train sequence/classify --data reviews.csv --target sentiment."""

    data: str = "python-docs"
    """A registered set (`gradus list --kind text-set`), a CSV, TSV or JSONL file, or a folder of texts by class."""
    text_column: str | None = None
    """The column of texts; `text`, `sentence` and the like when left out, or else the one with the longest values."""
    pair_column: str | None = None
    """The column of second texts, for classes of pairs."""
    target: str | None = None
    """The column of classes; `label`, `class` and the like when left out."""
    model: str = "tfidf"
    """The method: bow, tfidf, rnn, gru, lstm, cnn or bert (`gradus list --kind text-classifier`)."""
    tokenizer: Literal["auto", "word", "char", "bpe", "wordpiece"] = "auto"
    """What a network reads; auto is word, and wordpiece for bert. A bag of words has words of its own."""
    vocabulary: int | None = None
    """Most tokens or terms that are known; every one that is seen often enough when left out."""
    least: int | None = None
    """How often a token must be seen to be known; twice for networks, once for bags of words, when left out."""
    lowercase: bool = True
    """Bring texts to small letters."""
    ngrams: str = "1"
    """How many words a term of a bag of words has: 1, or 1,2 for single words and pairs."""
    stop_words: Literal["none", "english"] = "none"
    """Leave English function words out of a bag of words."""
    stem: bool = False
    """Bring the words of a bag of words to their stems (English)."""
    longest: int | None = None
    """Most tokens of a text that a network reads, 400 (128 for bert) when left out; longer texts are cut there."""
    label_smoothing: float = 0.0
    """Probability mass spread evenly over the classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weigh the classes in the loss; balanced makes each count the same."""
    vectors: str | None = None
    """A file of word vectors (word2vec, text or binary, or GloVe) that a network starts from."""
    from_run: str | None = None
    """Start from the weights and the tokenizer of another run (also spelled --from)."""
    freeze: Literal["none", "trunk"] = "none"
    """trunk: train the last layer only."""
    monitor: str = "val/accuracy"
    """Metric by which the best weights are kept: val/accuracy, val/loss or val/f1."""

    capabilities: ClassVar[tuple[str, ...]] = ("predict", "highlight")

    def __post_init__(self) -> None:
        """Check every option without importing torch."""
        super().__post_init__()
        positive(self, "vocabulary", "least", "longest")
        between(self, 0, 1, "label_smoothing")
        if self.monitor not in ("val/accuracy", "val/loss", "val/f1"):
            raise GradusError(f"--monitor is val/accuracy, val/loss or val/f1, got {self.monitor!r}")
        if not all(number.isdecimal() and int(number) for number in self.ngrams.split(",")):
            raise GradusError(f"--ngrams takes numbers of words, as 1 or 1,2, got {self.ngrams!r}")
        if self.freeze != "none" and self.from_run is None and self.vectors is None:
            raise GradusError(
                "--freeze trunk trains only the last layer, so the rest must come from somewhere: add --from RUN"
            )
        registry.lookup("text-classifier", self.model, "model")
        foreign = [*(() if self.bag else ("ngrams", "stop_words", "stem")), *(("tokenizer", "longest") * self.bag)]
        foreign += [] if self.model in WORDY else ["vectors"]
        other = "lstm" if self.bag else "bow"
        self._refuse(foreign, f"the model {self.model} takes none; leave it out, or use {other}")
        if self.from_run is not None:
            brought = ("tokenizer", "vocabulary", "least", "vectors", "ngrams", "stop_words", "stem", "lowercase")
            self._refuse(brought, "--from brings the vocabulary of its run; leave it out")

    def _refuse(self, names: Sequence[str], why: str) -> None:
        """Refuse flags that were given and mean nothing here."""
        for field in dataclasses.fields(self):
            if field.name in names and getattr(self, field.name) != field.default:
                raise GradusError(f"--{field.name.replace('_', '-')}: {why}")

    @property
    def best(self) -> tuple[str, Literal["min", "max"]]:  # type: ignore[override]
        """The metric by which the best weights are kept, and whether less or more of it is better."""
        return self.monitor, "min" if self.monitor == "val/loss" else "max"

    @property
    def bag(self) -> bool:
        """Whether the model counts words."""
        return self.model in BAGS

    @property
    def special(self) -> bool:
        """Whether the model's tokenizer has all the special tokens."""
        return not self.bag and self.model not in WORDY

    @property
    def most(self) -> int | None:
        """Most tokens of a text."""
        limit = CONTEXT if "context" in self.parts()["model"].parameters else LONGEST
        return None if self.bag else self.longest or limit

    def parts(self) -> dict[str, registry.Entry]:
        """Return what `--set` reaches: model, optimiser and schedule."""
        return {"model": registry.lookup("text-classifier", self.model, "model"), **super().parts()}

    def fixed(self) -> Sequence[str]:
        """Return the options of parts that the data or another flag decides."""
        return (*super().fixed(), "name", "classes", "vocabulary", "padding", "context")

    def updater(
        self,
        modules: "nn.Module | Mapping[str, nn.Module]",
        steps: int,
        scales: Mapping[str, float] = MappingProxyType({}),
    ) -> "Updater":
        """Return the Updater that the flags ask for, by default at a learning rate that fits the model."""
        if self.lr is None and self.optimizer == "adamw" and self.model in RATES:
            return dataclasses.replace(self, lr=RATES[self.model]).updater(modules, steps, scales)
        return super().updater(modules, steps, scales)

    def splits(self) -> "TextSplits":
        """Return the data of the run."""
        from gradus.data.labelled_text import load_labelled

        return load_labelled(
            self.data, text=self.text_column, target=self.target, data_dir=self.data_dir, limit=self.limit,
            pair=self.pair_column, **self.division,
        )  # fmt: skip

    def build(self, run: "Run") -> Build:
        """Return the learner, the source and what watches them."""
        from gradus.sequence.classification.building import build

        return build(self, run)

    def product(self, learner: "Descend") -> "TextClassifier":
        """Return the classifier with the weights that the learner holds, averaged ones where there are any."""
        import copy

        from gradus.sequence.classification.product import TextClassifier

        with learner.averaged():
            module = copy.deepcopy(learner.network).float().eval()
        reader, classes, facts = learner.facts
        return TextClassifier(module, reader, classes, facts)

    def evaluate(self, product: "TextClassifier", split: str, device: str = "auto") -> dict[str, float]:
        """Return loss, accuracy and F₁ on a split."""
        from gradus.sequence.classification.measures import of_texts

        splits = self.splits()
        if splits.classes != tuple(product.classes):
            raise GradusError(f"the data {self.data!r} has other classes now than when the run was trained")
        part = {"train": splits.train, "val": splits.val, "test": splits.test}[split]
        if not len(part):
            raise GradusError(f"the {split} part of {self.data!r} is empty: choose another --split")
        logs = product.predict(part.inputs).double().clamp(min=1e-300).log()
        return of_texts(logs.cpu(), part.labels, split)
