"""Word vectors ready to be used: similar words, analogies, vectors of texts, files that other programs read.

product/  model.safetensors (all tables)   product.json (method, words, counts)   tokenizer.json

A text's vector is the mean of its words' vectors, each of length one. Words never seen have a vector where the method
knows n-grams (fastText), and else are said to be unknown.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradus import canon as registry
from gradus.canon import canon
from gradus.data.tokenizer import Tokenizer
from gradus.engine.product import load_weights, save_product
from gradus.engine.state import State
from gradus.errors import GradusError, nearest
from gradus.sequence.embedding.similarity import Question, nearest_rows, read_pairs, read_questions, spearman, unit
from gradus.sequence.embedding.subwords import Subwords
from gradus.sequence.embedding.vector_files import Format, read_vectors, write_vectors
from gradus.sequence.embedding.vocabulary import Vocabulary

__all__ = ["FixedVectors", "WordVectors"]

QUESTIONS_AT_ONCE = 256
MOST_ASKED = 300_000


class FixedVectors(nn.Module):
    """Vectors that came from a file.

    Args:
        vectors: of each word.
    """

    def __init__(self, vectors: Float[Tensor, "words size"]) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors.clone(), requires_grad=False)


@canon("sequence/word-vectors", kind="product")
class WordVectors:
    """Vectors of words.

    Args:
        module: has the `vectors`, and for n-grams the parts they are made of.
        vocabulary: the words in the order of the vectors.
        facts: `method`, `settings`, and how it was trained.
        tokenizer: how texts are read; None parts them by blanks.
    """

    kind, name = "word vectors", "word-vectors"

    def __init__(
        self, module: nn.Module, vocabulary: Vocabulary, facts: State | None = None, tokenizer: Tokenizer | None = None
    ) -> None:
        self.module, self.vocabulary, self.tokenizer = module, vocabulary, tokenizer
        self.facts = facts or {"method": None, "settings": {}}

    def __repr__(self) -> str:
        method = self.facts["method"] or "from a file"
        return f"WordVectors({method}, {len(self.words):,} words, {self.vector_size} numbers each)"

    # -- words and vectors ----------------------------------------------------------------------------------------

    @property
    def words(self) -> tuple[str, ...]:
        """The words, the most frequent first."""
        return self.vocabulary.words

    @property
    def vectors(self) -> Float[Tensor, "words size"]:
        """The vector of each word."""
        return self.module.vectors.detach()  # type: ignore[union-attr,operator]

    @property
    def vector_size(self) -> int:
        """Numbers of a vector."""
        return int(self.vectors.shape[1])

    @cached_property
    def _place(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    @cached_property
    def _units(self) -> Float[Tensor, "words size"]:
        return unit(self.vectors)

    @property
    def _parts(self) -> Subwords | None:
        inputs = getattr(self.module, "inputs", None)
        return inputs if isinstance(inputs, Subwords) else None

    def __contains__(self, word: str) -> bool:
        return word in self._place

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, word: str) -> Float[Tensor, " size"]:
        """Return the vector of a word.

        Raises:
            GradusError: if it is unknown, naming the nearest.
        """
        if word in self._place:
            return self.vectors[self._place[word]]
        lower = word.lower() if self.tokenizer is not None and self.tokenizer.lowercase else word
        if lower in self._place:
            return self.vectors[self._place[lower]]
        made = self._parts.made_up(lower) if self._parts is not None else None
        if made is None:
            least = self.facts.get("min_count", 1)
            said = f"did not occur {least} times in the training text" if least > 1 else "is not among the words"
            raise GradusError(f"{word!r} {said} and has no vector{nearest(word, self.words[:20_000])}")
        return made

    def embed(self, texts: Sequence[str], **settings: Any) -> Float[Tensor, "texts size"]:
        """Return a vector for each word or text: a known word's own, else the mean of its words' unit vectors.

        Raises:
            GradusError: if no word of a text has a vector.
        """
        return torch.stack([self._embedded(text) for text in texts])

    def _embedded(self, text: str) -> Float[Tensor, " size"]:
        words = self._read(text)
        if text in self._place or len(words) <= 1:
            return self[text if text in self._place or not words else words[0]]
        known = [word for word in words if word in self._place or self._parts is not None]
        if not known:
            raise GradusError(f"no word of {text!r} has a vector: they did not occur in the training text")
        return unit(torch.stack([self[word] for word in known])).mean(0)

    def _read(self, text: str) -> list[str]:
        """Return the words of a text."""
        if self.tokenizer is None:
            return text.split()
        found = [text[a:b] for a, b in self.tokenizer.spans(text)]
        folded = [word.lower() for word in found] if self.tokenizer.lowercase else found
        return [word for word in folded if any(c.isalnum() for c in word)]

    # -- questions ------------------------------------------------------------------------------------------------

    def most_similar(
        self, positive: str | Sequence[str], negative: str | Sequence[str] = (), topn: int = 10
    ) -> list[tuple[str, float]]:
        """Return the words most similar to some words and unlike others, with their cosines.

        Args:
            positive: a word, or several.
            negative: words that count against.
            topn: how many are wanted.

        Raises:
            GradusError: if a word is unknown.
        """
        wanted, against = ([side] if isinstance(side, str) else list(side) for side in (positive, negative))
        if not wanted and not against:
            raise GradusError("name at least one word to be similar to")
        signs = self._units.new_tensor([1.0] * len(wanted) + [-1.0] * len(against))
        asked = signs @ unit(torch.stack([self[word] for word in (*wanted, *against)]))
        given = [self._place[w] for w in (*wanted, *against) if w in self._place]
        rows, cosines = nearest_rows(self._units, asked[None], topn, [given])
        return [(self.words[i], c) for i, c in zip(rows[0].tolist(), cosines[0].tolist(), strict=True)]

    def nearest(self, text: str, topn: int = 10) -> list[tuple[str, float]]:
        """Return the words nearest to a word or a text, which is left out itself, with their cosines."""
        given = [self._place[word] for word in {text, *self._read(text)} if word in self._place]
        rows, cosines = nearest_rows(self._units, self._embedded(text)[None], topn, [given])
        return [(self.words[i], c) for i, c in zip(rows[0].tolist(), cosines[0].tolist(), strict=True)]

    def analogy(self, a: str, b: str, c: str, topn: int = 10) -> list[tuple[str, float]]:
        """Return what is to c as b is to a, the best first, with cosines; raises as `most_similar` does."""
        return self.most_similar([b, c], [a], topn)

    def similarity(self, a: str, b: str) -> float:
        """Return the cosine of two words; raises GradusError if one is unknown."""
        return float(unit(self[a]) @ unit(self[b]))

    def _folded(self, restrict: int) -> dict[str, int]:
        """Return places by word in capitals; of words that differ in case only, the most frequent."""
        return {word.upper(): i for i, word in reversed(list(enumerate(self.words[:restrict])))}

    def evaluate_pairs(self, pairs: str | Path | Sequence[tuple[str, str, float]]) -> dict[str, float]:
        """Return how the cosines of pairs of words agree with what people say of their likeness.

        Args:
            pairs: a file, or the pairs; pairs with an unknown word are left out and counted; case is ignored.

        Returns:
            `spearman` (NaN for fewer than two known pairs), `pairs` that were known and `unknown` ones.
        """
        given = read_pairs(pairs) if isinstance(pairs, str | Path) else list(pairs)
        places = self._folded(MOST_ASKED)
        known = [
            (places[a.upper()], places[b.upper()], r) for a, b, r in given if {a.upper(), b.upper()} <= places.keys()
        ]
        left, right = (self._units[[pair[side] for pair in known]] for side in (0, 1))
        said = torch.tensor([rating for *_, rating in known])
        agreed = spearman((left * right).sum(1).cpu(), said)
        return {"spearman": agreed, "pairs": len(known), "unknown": len(given) - len(known)}

    def evaluate_analogies(
        self, questions: str | Path | Sequence[Question], restrict: int = MOST_ASKED
    ) -> dict[str, Any]:
        """Return the share of questions "a is to b as c is to …" that are answered rightly.

        Args:
            questions: a file like questions-words.txt, or the questions; case is ignored, questions with an unknown
                word are left out and counted.
            restrict: answers are among so many most frequent words.

        Returns:
            `accuracy` (NaN where no question is known), `questions` that were known, `unknown` ones, and the accuracy
            of each section in `sections`.
        """
        given = read_questions(questions) if isinstance(questions, str | Path) else list(questions)
        places = self._folded(restrict)
        known = [q for q in given if all(word.upper() in places for word in q.words)]
        units, fold = self._units[:restrict], {i: word.upper() for i, word in enumerate(self.words[:restrict])}
        right: dict[str, list[bool]] = defaultdict(list)
        for start in range(0, len(known), QUESTIONS_AT_ONCE):
            part = known[start : start + QUESTIONS_AT_ONCE]
            ids = torch.tensor([[places[word.upper()] for word in q.words] for q in part])
            a, b, c = (units[ids[:, i].to(units.device)] for i in range(3))
            rows, _ = nearest_rows(units, b + c - a, 1, ids[:, :3].tolist())
            for question, row in zip(part, rows[:, 0].tolist(), strict=True):
                right[question.section].append(fold[row] == question.words[3].upper())
        every = [answer for answers in right.values() for answer in answers]
        return {
            "accuracy": sum(every) / len(every) if every else float("nan"),
            "questions": len(every),
            "unknown": len(given) - len(known),
            "sections": {section: sum(answers) / len(answers) for section, answers in right.items()},
        }

    # -- files ----------------------------------------------------------------------------------------------------

    def save_vectors(self, path: str | Path, form: Format | None = None) -> None:
        """Write the vectors for other programs: word2vec text or binary, GloVe text; by the file's name if not said."""
        write_vectors(path, self.words, self.vectors, form)

    @classmethod
    def load_vectors(cls, path: str | Path, form: Format | None = None) -> "WordVectors":
        """Return the vectors of a word2vec or GloVe file.

        Raises:
            GradusError: naming what cannot be read.
        """
        words, vectors = read_vectors(path, form)
        counts = torch.arange(len(words), 0, -1)
        return cls(FixedVectors(vectors), Vocabulary(tuple(words), counts))

    def save(self, folder: Path) -> None:
        """Write `product/`."""
        vocabulary = {"words": list(self.words), "counts": self.vocabulary.counts.tolist()}
        size = {"vector_size": self.vector_size}
        facts = {**self.facts, **vocabulary, **size, "tokenizer": self.tokenizer and self.tokenizer.fingerprint}
        save_product(folder, self.name, facts, {"model": dict(self.module.state_dict())})
        if self.tokenizer is not None:
            self.tokenizer.save(folder)

    @classmethod
    def load(cls, folder: Path, facts: State) -> "WordVectors":
        """Return the word vectors of a product folder.

        Raises:
            GradusError: if its files do not belong together.
        """
        vocabulary = Vocabulary(tuple(facts["words"]), torch.tensor(facts["counts"], dtype=torch.int64))
        if facts["method"] is None:
            module: nn.Module = FixedVectors(torch.zeros(len(vocabulary.words), facts["vector_size"]))
        else:
            module = registry.find("embedding", facts["method"])(vocabulary, **facts["settings"])
        load_weights(module, folder)
        tokenizer = Tokenizer.load(folder) if facts["tokenizer"] else None
        if tokenizer is not None and tokenizer.fingerprint != facts["tokenizer"]:
            raise GradusError(f"{folder}: tokenizer.json does not belong to these vectors: resume the run to write it")
        made = ("words", "counts", "vector_size", "tokenizer", "format", "product")
        return cls(module.eval(), vocabulary, {k: v for k, v in facts.items() if k not in made}, tokenizer)
