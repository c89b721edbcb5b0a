"""The recipe of word vectors, as flat typed data. Imports no torch: building does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gradus import canon as registry
from gradus.canon import canon
from gradus.engine.recipe import Build, positive
from gradus.errors import GradusError
from gradus.sequence.recipe import SequenceRecipe

if TYPE_CHECKING:
    from gradus.data.corpora import CorpusSplits
    from gradus.engine.run import Run
    from gradus.sequence.embedding.learning import LearnVectors
    from gradus.sequence.embedding.product import WordVectors

__all__ = ["Embed"]

RATES = {"sgns": 0.025, "skipgram": 0.025, "cbow": 0.05, "fasttext": 0.025, "glove": 0.05}
OWN = {
    "optimizer": "auto", "ema": None, "clip": None, "accumulate": 1, "snapshots": None, "precision": "float32",
    "compile": False, "shard": False, "folds": None,
}  # fmt: skip
NOISY = ("sgns", "cbow", "fasttext")
LEAST_WORDS = {"skipgram": 1_000_000}  # a small corpus is read again until so many words were
USUALLY = 10_000_000
TINY = 100_000


@canon(
    "sequence/embed",
    kind="recipe",
    paper="Mikolov et al. 2013, Distributed representations of words and phrases and their compositionality",
    names=("sequence/embed",),
)
@dataclass(frozen=True, kw_only=True)
class Embed(SequenceRecipe):
    """Train word vectors: gradus train sequence/embed --data corpus.txt --model sgns."""

    data: str = "python-source"
    """A registered corpus (`gradus list --kind corpus`), a text file, a CSV or JSONL file, or a folder of texts."""
    field: str = "text"
    """The field of a CSV or JSONL file that holds the text."""
    limit: int | None = None
    """Use at most this many characters of each split."""
    test_fraction: float = 0.1
    """Part of the text kept for testing, where the data has no test set."""
    model: Literal["sgns", "skipgram", "cbow", "fasttext", "glove"] = "sgns"
    """sgns (skip-gram with negative sampling), skipgram (full softmax), cbow, fasttext (subwords) or glove."""
    vector_size: int = 100
    """Numbers of a vector."""
    window: int = 5
    """How many words away the farthest context is."""
    negative: int = 5
    """Noise words for each word predicted (sgns, cbow, fasttext)."""
    min_count: int = 5
    """How often a word must occur to get a vector."""
    vocabulary: int | None = None
    """The most words that get a vector, the most frequent ones; all when left out."""
    sample: float = 1e-3
    """Share of the text above which the occurrences of a word are thinned out; 0 keeps all (glove counts all)."""
    ns_exponent: float = 0.75
    """Power of the counts by which noise is drawn."""
    lowercase: bool = True
    """Bring the text to small letters first."""
    batch_size: int = 10_000
    """Words per step (co-occurrence entries, for glove)."""
    optimizer: str = "auto"
    """Each model has its own rule: stochastic gradient descent on the rows touched, AdaGrad for glove."""
    schedule: str = "linear"
    """Course of the learning rate (`gradus list --kind schedule`)."""

    capabilities: ClassVar[tuple[str, ...]] = ("embed",)

    def __post_init__(self) -> None:
        """Check every option without importing torch."""
        super().__post_init__()
        positive(self, "vector_size", "window", "negative", "min_count", "vocabulary", "ns_exponent")
        if not 0 <= self.sample < 1:
            raise GradusError(f"--sample is a share of the text, from 0 to 1, got {self.sample}")
        for name, only in OWN.items():
            if getattr(self, name) != only:
                flag = name.replace("_", "-")
                raise GradusError(f"--{flag}: word vectors have their own rule, on the rows touched; leave it out")
        if registry.lookup("schedule", self.schedule).id == "optim/plateau":
            raise GradusError("--schedule plateau: word vectors take a course known beforehand, such as linear")

    @property
    def rate(self) -> float:
        """The highest learning rate."""
        return RATES[self.model] if self.lr is None else self.lr

    def parts(self) -> dict[str, registry.Entry]:
        """Return what `--set` reaches: the model and the schedule."""
        return {
            "model": registry.lookup("embedding", self.model),
            "schedule": registry.lookup("schedule", self.schedule),
        }

    def fixed(self) -> Sequence[str]:
        """Return the options of parts that the recipe gives itself."""
        return (*super().fixed(), "vocabulary", "vector_size", "negative", "generator")

    def built_with(self) -> dict[str, Any]:
        """Return the settings of the model."""
        noise = {"negative": self.negative} if self.model in NOISY else {}
        return {"vector_size": self.vector_size, **noise, **self.settings()["model"]}

    def planned_steps(self, per_epoch: int) -> int:
        """Return how many steps a run has; by default 5 epochs, or more until enough words were read."""
        if self.fast_dev_run or self.max_steps is not None or self.max_epochs is not None:
            return super().planned_steps(per_epoch)
        return per_epoch * max(5, min(100, -(-LEAST_WORDS.get(self.model, USUALLY) // (per_epoch * self.batch_size))))

    def splits(self) -> "CorpusSplits":
        """Return the data of the run."""
        from gradus.data.corpora import load_corpus

        division = {key: self.division[key] for key in ("val_fraction", "test_fraction", "seed")}
        limit = TINY if self.fast_dev_run and self.limit is None else self.limit
        return load_corpus(self.data, data_dir=self.data_dir, limit=limit, field=self.field, **division)

    def build(self, run: "Run") -> Build:
        """Return the learner, the source and what watches them."""
        from gradus.sequence.embedding.building import build

        return build(self, run)

    def product(self, learner: "LearnVectors") -> "WordVectors":
        """Return the vectors that the learner holds."""
        import copy

        from gradus.sequence.embedding.product import WordVectors

        facts = learner.facts
        described = {"method": self.model, "settings": self.built_with(), "window": self.window,
                     "sample": self.sample, "min_count": self.min_count}  # fmt: skip
        return WordVectors(copy.deepcopy(learner.network).eval(), facts.vocabulary, described, facts.tokenizer)

    def evaluate(self, product: "WordVectors", split: str, device: str = "auto") -> dict[str, float]:
        """Return the model's own loss on a split: a prediction's, or an entry's for glove."""
        from gradus.sequence.embedding.building import measure
        from gradus.sequence.embedding.vocabulary import numbered, tokens_of

        splits = self.splits()
        part = {"train": splits.train, "val": splits.val, "test": splits.test}[split]
        assert product.tokenizer is not None, "a run has its tokenizer"
        tokenizer = product.tokenizer
        text = numbered(tokens_of(part, tokenizer), tokenizer.tokens, product.vocabulary)
        if len(text.values) < 2:
            raise GradusError(f"the {split} part of {self.data!r} has no known words: choose another --split")
        return {f"{split}/loss": measure(self, product.module, product.vocabulary, text)}
