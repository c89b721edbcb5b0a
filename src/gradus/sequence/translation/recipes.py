"""The recipe of translators, as flat typed data. Imports no torch: building does."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from gradus import canon as registry
from gradus.canon import canon
from gradus.engine.options import between
from gradus.engine.recipe import Build, positive
from gradus.errors import GradusError
from gradus.sequence.recipe import SequenceRecipe

if TYPE_CHECKING:
    from gradus.data.pairs import PairSplits
    from gradus.engine.descent import Descend
    from gradus.engine.run import Run
    from gradus.sequence.translation.product import Translator

__all__ = ["Translate"]

USERS = {"cell": ("rnn", "rnn-attention"), "attention": ("rnn-attention",)}


@canon(
    "sequence/translate",
    kind="recipe",
    paper="Sutskever, Vinyals and Le 2014, Sequence to sequence learning with neural networks",
    names=("sequence/translate",),
)
@dataclass(frozen=True, kw_only=True)
class Translate(SequenceRecipe):
    """Train a translator: gradus train sequence/translate --data train.de --target train.en."""

    data: str = "dates"
    """A registered set of pairs (`gradus list --kind pair-set`), a file of sources, or a .tsv, .csv or .jsonl file."""
    target: str | None = None
    """The file of targets, whose line i belongs to line i of --data."""
    source_field: str | None = None
    """The column or field of the sources; `source`, or else the first, when left out."""
    target_field: str | None = None
    """The same for the targets; `target`, or else the second."""
    model: Literal["rnn", "rnn-attention", "transformer"] = "rnn-attention"
    """The method: rnn (one vector for the source), rnn-attention or transformer."""
    cell: Literal["gru", "lstm", "rnn"] = "gru"
    """The recurrent cell of rnn and rnn-attention."""
    attention: Literal["dot", "multiplicative", "additive", "scaled"] = "multiplicative"
    """The score of rnn-attention."""
    tokenizer: Literal["auto", "char", "word", "bpe", "wordpiece"] = "auto"
    """What tokens are; auto is as the data says, of files bpe, or char where most sources are one word."""
    vocabulary: int | None = None
    """The most tokens of each side; 8,000 pieces or 10,000 words when left out."""
    shared_vocabulary: bool = False
    """One vocabulary and one embedding for both sides."""
    longest: int | None = None
    """Leave out training pairs with more tokens than this on a side."""
    label_smoothing: float = 0.0
    """Probability mass spread evenly over the vocabulary."""
    teacher_forcing: float | None = None
    """Probability of showing the decoder the right token before, not its own; what --scheduled-sampling falls to."""
    scheduled_sampling: Literal["none", "linear", "exponential", "sigmoid"] = "none"
    """How that probability falls from 1 in the course of the run."""
    beam: int = 5
    """Width of the search in `evaluate` and `translate`."""
    length_penalty: float = 0.6
    """How much longer translations are preferred by the search."""
    monitor: Literal["val/loss", "val/bleu", "val/exact"] = "val/loss"
    """Metric by which the best weights are kept."""
    batch_size: int = 64
    """Pairs per step, over all processes."""
    optimizer: str = "adam"
    """An update rule (`gradus list --kind optimizer`)."""
    clip: float | None = 1.0
    """Largest global gradient norm."""

    capabilities: ClassVar[tuple[str, ...]] = ("translate",)

    def __post_init__(self) -> None:
        """Check every option without importing torch."""
        super().__post_init__()
        positive(self, "vocabulary", "longest", "beam")
        between(self, 0, 1, "label_smoothing")
        self._check_forcing()
        if self.snapshots is not None:
            raise GradusError("--snapshots makes an ensemble of class probabilities: leave it out for translators")
        for field in dataclasses.fields(self):
            users = USERS.get(field.name, (self.model,))
            if self.model not in users and getattr(self, field.name) != field.default:
                raise GradusError(
                    f"--{field.name}: the model {self.model} takes none; leave it out, or use {' or '.join(users)}"
                )

    def _check_forcing(self) -> None:
        forcing, sampling = self.teacher_forcing, self.scheduled_sampling
        if forcing is not None and not 0 <= forcing <= 1:
            raise GradusError(f"--teacher-forcing is a probability, got {forcing}")
        if sampling != "none" and (forcing is None or forcing == 1):
            raise GradusError(f"--scheduled-sampling {sampling} needs what to fall to: add --teacher-forcing 0.5, say")
        if sampling == "exponential" and forcing == 0:
            raise GradusError("--scheduled-sampling exponential never falls to 0: give --teacher-forcing above 0")

    @property
    def best(self) -> tuple[str, Literal["min", "max"]]:  # type: ignore[override]
        """The metric by which the best weights are kept, and whether less or more of it is better."""
        return self.monitor, "min" if self.monitor == "val/loss" else "max"

    def parts(self) -> dict[str, registry.Entry]:
        """Return what `--set` reaches: the model, optimiser and schedule."""
        return {"model": registry.lookup("translator", self.model), **super().parts()}

    def fixed(self) -> Sequence[str]:
        """Return the options of parts that the data or another flag decides."""
        return (*super().fixed(), "source_vocabulary", "target_vocabulary", "shared", "cell", "attention")

    def splits(self) -> "PairSplits":
        """Return the data of the run."""
        from gradus.data.pairs import load_pairs

        few = 2 * self.batch_size if self.fast_dev_run else None
        limit = min((n for n in (self.limit, few) if n is not None), default=None)
        return load_pairs(
            self.data, target=self.target, source_field=self.source_field, target_field=self.target_field,
            data_dir=self.data_dir, limit=limit, **self.division,
        )  # fmt: skip

    def build(self, run: "Run") -> Build:
        """Return the learner, the source and what watches them."""
        from gradus.sequence.translation.building import build

        return build(self, run)

    def product(self, learner: "Descend") -> "Translator":
        """Return the translator that the learner holds, averaged weights where there are any."""
        from gradus.sequence.translation.building import product_of

        return product_of(learner)

    def evaluate(self, product: "Translator", split: str, device: str = "auto") -> dict[str, float]:
        """Return nats per token, perplexity, BLEU where there are words enough, and the exact share, on a split."""
        pairs = self.splits().parts[split]
        if not len(pairs):
            raise GradusError(f"the {split} part of {self.data!r} is empty: choose another --split")
        return product.measure(pairs, split)
