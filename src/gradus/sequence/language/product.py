"""A language model ready to be used: text in, text and its probability out.

    log p(x_1 … x_T) = Σ_t log p(x_t | x_1 … x_{t−1})

`product/` holds the weights, `tokenizer.json`, and in `product.json` the fingerprint of the tokenizer that the weights
were learned with. Text comes out of `complete` as soon as it is certain: bytes that are the beginning of a character,
or letters that are the beginning of a stop string, wait for the next token.

A model of several documents knows where texts begin and end: what it completes ends where a document would, and the
first token of a text has a probability. One of a single document knows no beginning: there, the first token counts for
nothing.
"""

import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from gradus.canon import canon
from gradus.data.tokenizer import Tokenizer
from gradus.engine.product import load_weights, save_product
from gradus.engine.state import State
from gradus.errors import GradusError
from gradus.sequence.language.decoding import Decoding
from gradus.sequence.language.evaluating import token_cost
from gradus.sequence.language.generation import generate
from gradus.sequence.language.models import device_of, make

__all__ = ["TextModel", "certain"]

CUT = "\N{REPLACEMENT CHARACTER}"
LAST = 8  # tokens before a new one that may decide how it is written


@canon("sequence/text-model", kind="product", names=("language-model",))
class TextModel:
    """A language model with its tokenizer.

    Args:
        module: tokens to logits.
        tokenizer: text to tokens.
        facts: model, vocabulary, context and settings, as `make` takes them; whether it knows documents; and the
            fingerprint of the tokenizer.
        raw: weights before averaging, where there are any.

    Raises:
        GradusError: if the tokenizer is not the one that the weights were learned with.
    """

    kind = "a language model"

    def __init__(
        self, module: nn.Module, tokenizer: Tokenizer, facts: State, raw: dict[str, Tensor] | None = None
    ) -> None:
        if tokenizer.fingerprint != facts["tokenizer"]:
            raise GradusError(
                f"tokenizer.json ({tokenizer!r}) is not the one that these weights were learned with: put that one "
                "back, or resume the run to write both again"
            )
        self.module, self.tokenizer, self.facts, self.raw = module, tokenizer, dict(facts), raw

    def __repr__(self) -> str:
        return f"TextModel({self.facts['model']}, {self.tokenizer!r})"

    @property
    def device(self) -> torch.device:
        """Where the product computes."""
        return device_of(self.module)

    @cached_property
    def end(self) -> int | None:
        """The token that ends a document, and so comes before the next; None where only one was learned from."""
        return self.tokenizer.id("[EOS]") if self.facts["documents"] else None

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text.

        Raises:
            GradusError: if it has characters that the model never saw.
        """
        missing = self.tokenizer.unknown(text)
        if missing and self.tokenizer.kind == "char":
            shown = ", ".join(map(repr, missing[:5])) + (", …" if len(missing) > 5 else "")
            raise GradusError(
                f"the text this model learned from never had {shown}: leave that out, or train with --tokenizer bpe, "
                "which can spell anything"
            )
        if missing:
            warnings.warn(
                f"{len(missing)} words are not in the vocabulary and read as [UNK]: {missing[:5]}", stacklevel=3
            )
        return self.tokenizer.encode(text)

    def complete(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 200,
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float | None = None,
        repetition_penalty: float = 1.0,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> Iterator[str]:
        """Return an iterator over what follows a prompt, piece by piece.

        Args:
            prompt: what is gone on with; empty begins a text.
            max_new_tokens: the most tokens.
            temperature: 0 takes the most probable token, 1 draws from the model's own distribution.
            top_k: draw from the k most probable tokens.
            top_p: draw from the most probable tokens that have this probability together.
            repetition_penalty: above 1 makes tokens that were there already less probable.
            stop: the completion ends before any of these strings.
            seed: of the draws.

        Raises:
            GradusError: for a setting out of range, or a prompt with characters never seen.
        """
        decoding = Decoding(
            temperature=temperature, top_k=top_k, top_p=top_p, repetition_penalty=repetition_penalty
        )  # fmt: skip
        if any(not word for word in stop):
            raise GradusError("an empty stop string would stop at once: leave it out")
        known = self._begun(self.encode(prompt))
        drawn = generate(
            self._speaking(), [known], max_new_tokens=max_new_tokens, decoding=decoding,
            stop_ids=() if self.end is None else (self.end,),
            generator=torch.Generator(self.device).manual_seed(seed),
        )  # fmt: skip
        tokens = (int(token[0]) for token in drawn)
        return until(self._written(known, (token for token in tokens if token != self.end)), stop)

    def _begun(self, tokens: list[int]) -> list[int]:
        """Return the tokens of a prompt behind what comes before every text."""
        if self.end is not None:
            return [self.end, *tokens]
        if not tokens:
            newline = self.tokenizer.encode("\n")
            if not newline or newline[-1] in self._silent:
                raise GradusError("this model learned from one document and knows no beginnings: give a prompt")
            return newline
        return tokens

    @property
    def _silent(self) -> list[int]:
        """Special tokens, which are never written; the end of a document may come where there are documents."""
        return [i for i in map(self.tokenizer.id, self.tokenizer.specials) if i != self.end]

    def _speaking(self) -> nn.Module:
        return (_Reading if hasattr(self.module, "read") else _Speaking)(self.module, self._silent).eval()

    def _written(self, known: list[int], tokens: Iterator[int]) -> Iterator[str]:
        """Yield what each new token adds to the text, as soon as that is certain."""
        held = list(known[-LAST:])
        before = self.tokenizer.decode(held)
        bytewise = self.tokenizer.kind == "bpe"
        for token in tokens:
            held.append(token)
            text = self.tokenizer.decode(held)
            if bytewise and text.endswith(CUT):
                continue  # perhaps the first bytes of a character, which at the end stay unsaid
            yield text[len(before) :]
            held = held[-LAST:]
            before = self.tokenizer.decode(held)

    def _scored(self, text: str) -> Int64[Tensor, " tokens"]:
        tokens = self.encode(text)
        return torch.tensor(tokens if self.end is None else [self.end, *tokens], dtype=torch.int64)

    def log_prob(self, text: str) -> float:
        """Return log p(text) in nats; where the model knows no beginnings, given its first token.

        Raises:
            GradusError: if the text is empty or has characters never seen.
        """
        cost = token_cost(self.module, self._scored(text))
        return -float(cost.nats) * int(cost.tokens)

    def perplexity(self, text: str) -> float:
        """Return the perplexity of a text, of its tokens; raises as `log_prob` does."""
        return float(token_cost(self.module, self._scored(text)).perplexity)

    def save(self, folder: Path) -> None:
        """Write `product/`: weights, tokenizer, and what builds the model again."""
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(folder)
        weights = {"model": dict(self.module.state_dict()), **({} if self.raw is None else {"raw": self.raw})}
        save_product(folder, "language-model", self.facts, weights)

    @classmethod
    def load(cls, folder: Path, facts: State) -> "TextModel":
        """Build the model from `product.json` and load its weights."""
        kept = {key: facts[key] for key in ("model", "vocabulary", "context", "settings", "documents", "tokenizer")}
        tokenizer = Tokenizer.load(folder)
        module = make(kept["model"], kept["vocabulary"], kept["context"], kept["settings"])
        product = cls(module.eval(), tokenizer, kept)
        load_weights(module, folder)
        if (folder / "raw.safetensors").exists():
            raw = make(kept["model"], kept["vocabulary"], kept["context"], kept["settings"])
            load_weights(raw, folder, "raw")
            product.raw = dict(raw.state_dict())
        return product


class _Speaking(nn.Module):
    """A language model that never says some tokens."""

    def __init__(self, model: Any, silent: Sequence[int]) -> None:
        super().__init__()
        self.model, self.context, self.start, self.reorder = model, model.context, model.start, model.reorder
        self.silent = list(silent)

    def _hushed(self, logits: Tensor) -> Tensor:
        return logits.index_fill(-1, torch.tensor(self.silent, dtype=torch.int64, device=logits.device), -torch.inf)

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        logits, state = self.model(tokens, state)
        return self._hushed(logits), state


class _Reading(_Speaking):
    """The same of a model that reads rows of different lengths in one pass."""

    def read(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Any]:
        logits, state = self.model.read(rows)
        return self._hushed(logits), state


def until(pieces: Iterator[str], stops: Sequence[str]) -> Iterator[str]:
    """Yield pieces of text up to the first stop string, which may reach over several of them.

    Args:
        pieces: of the text.
        stops: none of them empty.
    """
    held = ""
    for piece in pieces:
        held += piece
        found = [place for place in (held.find(word) for word in stops) if place >= 0]
        if found:
            if text := held[: min(found)]:
                yield text
            return
        sure = certain(held, stops)
        if sure:
            yield held[:sure]
            held = held[sure:]
    if held:
        yield held


def certain(text: str, stops: Sequence[str]) -> int:
    """Return how many characters of a text cannot be the beginning of a stop string that is still to come.

    Args:
        text: without a whole stop string.
        stops: the strings.
    """
    longest = max((len(word) for word in stops), default=1) - 1
    for k in range(min(longest, len(text)), 0, -1):
        end = text[-k:]
        if any(len(word) > k and word.startswith(end) for word in stops):
            return len(text) - k
    return len(text)
