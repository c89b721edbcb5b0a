"""A finder of answers ready to be used: a question and a context in, the part of the context that answers out.

    [CLS] question [SEP] window of the context [SEP]
    p(i, j) = softmax(s)_i softmax(e)_j,   i ≤ j < i + longest, both in the window;   (0, 0) says that it is not here

A context too long for the encoder is read in windows that overlap; the best span of all windows is the answer.

References:
    Devlin et al. 2019, BERT: pre-training of deep bidirectional Transformers for language understanding (section 4.2).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.data.ragged import Ragged, padded
from gradus.data.tokenizer import Tokenizer
from gradus.engine.capabilities import InputBatch
from gradus.engine.product import load_weights, save_product
from gradus.engine.state import State
from gradus.sequence.encoder.bert import Bert
from gradus.sequence.encoder.heads import SpanScores
from gradus.sequence.encoder.product import TextEncoder, matching
from gradus.sequence.encoder.questions import Question, read_questions
from gradus.sequence.encoder.rows import framed

__all__ = ["Found", "SpanFinder", "Window", "inside", "span_scores", "windows"]

AT_ONCE = 32


class Found(NamedTuple):
    """An answer.

    Attributes:
        text: the part of the context.
        start: the character of the context where it begins.
        probability: that the model gives it, in the window where it stands.
    """

    text: str
    start: int
    probability: float


class Window(NamedTuple):
    """A question with a part of its context.

    Attributes:
        tokens: of the sequence.
        segments: 0 for the question, 1 for the context.
        offset: place in the sequence of the window's first token.
        first: which token of the context that is.
        size: tokens of the context in the window.
    """

    tokens: list[int]
    segments: list[int]
    offset: int
    first: int
    size: int


def windows(
    question: Sequence[int], context: Sequence[int], tokenizer: Tokenizer, length: int, stride: int
) -> list[Window]:
    """Return the windows in which a context is read; a question gets half of the room at most.

    Args:
        question: ids of its tokens.
        context: ids of its tokens.
        tokenizer: which has the special tokens.
        length: most tokens of a sequence.
        stride: tokens that two windows share.
    """
    asked = list(question[: length // 2 - 2])
    room = length - 3 - len(asked)
    begin, end = tokenizer.id("[CLS]"), tokenizer.id("[SEP]")
    found, first = list[Window](), 0
    while True:
        part = context[first : first + room]
        tokens, segments = framed(asked, part, begin, end)
        found.append(Window(tokens, segments, len(asked) + 2, first, len(part)))
        if first + room >= len(context):
            return found
        first += max(1, room - stride)  # an encoder from elsewhere may have a context too short for the stride


def inside(
    scores: Float[Tensor, "windows time"], parts: Sequence[Window], head: bool = True
) -> Float[Tensor, "windows time"]:
    """Return log-probabilities of the places in each window's context and, first, of there being no answer in it.

    Args:
        scores: of every place.
        parts: the windows.
        head: whether "no answer here", the first place, takes part.
    """
    time = torch.arange(scores.shape[1])
    offsets = torch.tensor([w.offset for w in parts])[:, None]
    there = (time >= offsets) & (time < offsets + torch.tensor([w.size for w in parts])[:, None])
    if head:
        there[:, 0] = True
    return scores.float().masked_fill(~there.to(scores.device), -torch.inf).log_softmax(1)


@canon("sequence/span-finder", kind="product")
class SpanFinder:
    """A finder of answers in contexts.

    Args:
        module: scores of the beginnings and ends of answers.
        tokenizer: of questions and contexts.
        settings: of the encoder.
        stride: tokens that two windows of a context share.
        longest: most tokens of an answer.
    """

    kind = "a finder of answers"

    def __init__(self, module: SpanScores, tokenizer: Tokenizer, settings: State, stride: int, longest: int) -> None:
        self.module, self.tokenizer, self.settings = module, tokenizer, settings
        self.stride, self.longest = stride, longest

    def __repr__(self) -> str:
        return f"SpanFinder({self.tokenizer}, width {self.module.width}, answers up to {self.longest} tokens)"

    @property
    def device(self) -> torch.device:
        """Where the product computes."""
        return next(self.module.parameters()).device

    def answer(self, questions: Sequence[Question]) -> list[Found]:
        """Return the answer to each question, a part of its context.

        Args:
            questions: any number; what they say about answers is not looked at.
        """
        asked = self.tokenizer.encode_batch([q.question for q in questions])
        read = self.tokenizer.encode_batch([q.context for q in questions])
        parts = [
            (i, window)
            for i, (question, context) in enumerate(zip(asked, read, strict=True))
            for window in windows(question, context, self.tokenizer, self.module.context, self.stride)
        ]
        best: dict[int, tuple[float, int, int]] = {}
        for start in range(0, len(parts), AT_ONCE):
            some = parts[start : start + AT_ONCE]
            for (i, _), found in zip(some, self._best([window for _, window in some]), strict=True):
                best[i] = max(best.get(i, found), found)
        return [self._as_text(question, *best[i]) for i, question in enumerate(questions)]

    def _best(self, parts: Sequence[Window]) -> list[tuple[float, int, int]]:
        """Return the log-probability, first and last token of each window's best span."""
        tokens, lengths = padded(Ragged.of([w.tokens for w in parts]), torch.arange(len(parts)))
        segments, _ = padded(Ragged.of([w.segments for w in parts]), torch.arange(len(parts)))
        with torch.inference_mode():
            begin, end = self.module(tokens.long().to(self.device), lengths, segments.long().to(self.device))
            begin, end = inside(begin, parts), inside(end, parts)
            begin[:, 0] = end[:, 0] = -torch.inf
            spans = begin[:, :, None] + end[:, None, :]
            ones = torch.ones(spans.shape[1:], dtype=torch.bool, device=spans.device)
            spans = spans.masked_fill(~(ones.triu() & ones.tril(self.longest - 1)), -torch.inf)
            values, places = spans.flatten(1).max(1)
        time = spans.shape[1]
        found = zip(values.tolist(), places.tolist(), parts, strict=True)
        return [(v, p // time - w.offset + w.first, p % time - w.offset + w.first) for v, p, w in found]

    def _as_text(self, question: Question, score: float, first: int, last: int) -> Found:
        spans = self.tokenizer.spans(question.context)
        if not spans:
            return Found("", 0, 0.0)
        start, stop = spans[first][0], spans[last][1]
        return Found(question.context[start:stop], start, float(torch.tensor(score).exp()))

    def read(self, path: Path, batch_size: int = 256) -> Iterator[InputBatch]:
        """Read a CSV, TSV or JSONL file with `question` and `context` in batches.

        Raises:
            GradusError: naming the record that cannot be used.
        """
        questions = read_questions(path, answered=False)
        for start in range(0, len(questions), batch_size):
            part = questions[start : start + batch_size]
            yield InputBatch([question.question for question in part], part)

    def embed(self, texts: Sequence[str], **settings: Any) -> Tensor:
        """Return a vector for each text, from the encoder inside; settings are those of `TextEncoder.embed`."""
        return TextEncoder(self.module, self.tokenizer, "bert", self.settings).embed(texts, **settings)

    def save(self, folder: Path) -> None:
        """Write `product/`: weights, tokenizer and what builds the module."""
        facts = {
            "settings": self.settings, "tokenizer": self.tokenizer.fingerprint, "stride": self.stride,
            "longest": self.longest,
        }  # fmt: skip
        save_product(folder, "span-finder", facts, {"model": dict(self.module.state_dict())})
        self.tokenizer.save(folder)

    @classmethod
    def load(cls, folder: Path, facts: State) -> "SpanFinder":
        """Build the module from `product.json` and load weights and tokenizer.

        Raises:
            GradusError: if the tokenizer is not the one that the weights were trained with.
        """
        tokenizer = matching(Tokenizer.load(folder), facts["tokenizer"], folder)
        module = span_scores(tokenizer, facts["settings"])
        load_weights(module, folder)
        return cls(module.eval(), tokenizer, facts["settings"], facts["stride"], facts["longest"])


def span_scores(tokenizer: Tokenizer, settings: State) -> SpanScores:
    """Return a fresh module for a tokenizer's texts.

    Args:
        tokenizer: of the texts.
        settings: of a registered BERT.
    """
    return SpanScores(Bert(len(tokenizer), **{key: value for key, value in settings.items() if key != "next_sentence"}))
