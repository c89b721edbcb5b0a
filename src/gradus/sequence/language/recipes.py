"""The recipe of language models, as flat typed data. Imports no torch: building does."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gradus import canon as registry
from gradus.canon import canon
from gradus.engine.options import between
from gradus.engine.recipe import Build, positive
from gradus.errors import GradusError
from gradus.sequence.recipe import SequenceRecipe

if TYPE_CHECKING:
    from torch import nn

    from gradus.data.corpora import CorpusSplits
    from gradus.engine.run import Run
    from gradus.engine.updater import Updater
    from gradus.sequence.language.product import TextModel

__all__ = ["COUNTED", "LanguageModel"]

COUNTED = ("ngram", "markov")
RECURRENT = ("rnn", "gru", "lstm")
DESCENDED = (
    "batch_size", "optimizer", "lr", "schedule", "warmup", "ema", "clip", "accumulate", "label_smoothing",
    "patience", "evaluate_every", "from_run", "context",
)  # fmt: skip
TOKENS = ("tokenizer", "vocabulary", "lowercase", "min_count")
STEPS = 1000
RATES = {"gpt": 0.001, **dict.fromkeys(RECURRENT, 0.005)}
GLANCE = 20_000  # characters of each split that --fast-dev-run reads


@canon(
    "sequence/language-model",
    kind="recipe",
    paper="Mikolov et al. 2010, Recurrent neural network based language model",
    names=("sequence/language-model",),
)
@dataclass(frozen=True, kw_only=True)
class LanguageModel(SequenceRecipe):
    """Train a language model on a text: gradus train sequence/language-model --data book.txt."""

    data: str = "python-source"
    """A registered corpus (python-source, tinyshakespeare), a text file, a CSV or JSONL file, or a folder of texts."""
    field: str = "text"
    """The column or field of a CSV or JSONL file that holds the text."""
    limit: int | None = None
    """Use at most this many characters of each split."""
    test_fraction: float = 0.1
    """Part of the text kept for testing, where the data has no test part."""
    tokenizer: Literal["char", "word", "bpe", "wordpiece"] = "char"
    """What a token is: a character, a word, a byte pair or a word piece; learned from the training part."""
    vocabulary: int | None = None
    """Most tokens, special ones included; all characters or words, 8192 pieces when left out."""
    lowercase: bool = False
    """Bring the text to small letters first."""
    min_count: int | None = None
    """What is seen less often has no token of its own; 2 for words, so that [UNK] is learned, else 1 when left out."""
    model: Literal["ngram", "markov", "rnn", "gru", "lstm", "gpt"] = "lstm"
    """The model; ngram (Kneser-Ney) and markov are counted in one step, the others trained."""
    context: int = 64
    """Tokens that a training step goes back over; of gpt also the longest sequence that it ever sees."""
    stateful: bool = True
    """Recurrent models read the text in streams and carry their state from step to step; else in random windows."""
    attention: Literal["full", "local", "linear"] = "full"
    """What gpt's tokens look at: all before them, those in a window (`--set window=N`), or a running sum."""
    label_smoothing: float = 0.0
    """Probability mass spread evenly over the vocabulary."""
    val_tokens: int = 50_000
    """Evaluate on at most this many tokens of the validation part while training."""
    from_run: str | None = None
    """Go on from another run, or from a folder with GPT-2's weights, with its tokenizer (also spelled --from)."""
    lr: float | None = None
    """Learning rate; 0.001 of gpt and 0.005 of recurrent models when left out."""
    clip: float | None = 1.0
    """Largest global gradient norm."""

    capabilities: ClassVar[tuple[str, ...]] = ("complete",)

    def __post_init__(self) -> None:
        """Check every option without importing torch."""
        super().__post_init__()
        positive(self, "vocabulary", "min_count", "context", "val_tokens")
        between(self, 0, 1, "label_smoothing")
        if self.folds is not None:
            raise GradusError("--folds: a text is not divided into folds; leave it out, or vary --split-seed")
        if self.snapshots is not None:
            raise GradusError("--snapshots makes an ensemble of classifiers: leave it out for a language model")
        if self.model in COUNTED:
            self._refuse(DESCENDED, f"the model {self.model} is counted, not trained", "rnn, gru, lstm or gpt")
        if self.model != "gpt":
            self._refuse(("attention",), f"the model {self.model} has none", "gpt")
        if self.from_run is not None:
            self._refuse(TOKENS, "with --from the tokenizer is that run's", "train anew without --from")

    def _refuse(self, names: Sequence[str], why: str, instead: str) -> None:
        for field in dataclasses.fields(self):
            if field.name in names and getattr(self, field.name) != field.default:
                raise GradusError(f"--{field.name.replace('_', '-')}: {why}; leave it out, or use {instead}")

    @property
    def counted(self) -> bool:
        """Whether the model is counted in one step."""
        return self.model in COUNTED

    @property
    def carried(self) -> bool:
        """Whether a state is carried from step to step."""
        return self.stateful and self.model in RECURRENT

    def parts(self) -> dict[str, registry.Entry]:
        """Return what `--set` reaches: model, optimiser and schedule."""
        return {"model": registry.lookup("language-model", self.model, "model"), **super().parts()}

    def fixed(self) -> Sequence[str]:
        """Return the options of parts that the data or another flag decides."""
        return (*super().fixed(), "name", "vocabulary", "context", "attention")

    def settings(self) -> dict[str, dict[str, Any]]:
        """Return the `--set` options dealt out to the parts, `--attention` among the model's."""
        found = super().settings()
        if self.attention != "full":
            found["model"]["attention"] = self.attention
        return found

    def updater(
        self,
        modules: "nn.Module | Mapping[str, nn.Module]",
        steps: int,
        scales: "Mapping[str, float]" = MappingProxyType({}),
    ) -> "Updater":
        """Return the Updater that the flags ask for, with a learning rate that suits the model."""
        if self.lr is None:
            return dataclasses.replace(self, lr=RATES[self.model]).updater(modules, steps, scales)
        return super().updater(modules, steps, scales)

    def planned_steps(self, per_epoch: int) -> int:
        """Return how many steps a run has; by default a thousand, whatever the length of the text."""
        if self.max_epochs is None and self.max_steps is None and not self.fast_dev_run:
            return STEPS
        return super().planned_steps(per_epoch)

    def splits(self) -> "CorpusSplits":
        """Return the data of the run."""
        from gradus.data.corpora import load_corpus

        shares = {key: self.division[key] for key in ("val_fraction", "test_fraction", "seed")}
        limit = min(self.limit or GLANCE, GLANCE) if self.fast_dev_run else self.limit
        return load_corpus(self.data, data_dir=self.data_dir, limit=limit, field=self.field, **shares)

    def build(self, run: "Run") -> Build:
        """Return the learner, the source and what watches them."""
        from gradus.sequence.language.building import build

        return build(self, run)

    def product(self, learner: Any) -> "TextModel":
        """Return the model that the learner holds, averaged weights where there are any."""
        from gradus.sequence.language.building import product

        return product(learner)

    def evaluate(self, product: "TextModel", split: str, device: str = "auto") -> dict[str, float]:
        """Return loss in nats a token, perplexity and bits a character on a split."""
        from gradus.sequence.language.building import evaluate

        return evaluate(self, product, split)
