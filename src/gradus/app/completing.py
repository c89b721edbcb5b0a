"""`gradus complete`: a language model goes on with a text, piece by piece."""

import sys
from dataclasses import dataclass
from typing import ClassVar

from gradus.app.using import RunVerb
from gradus.app.verb import Answer
from gradus.errors import GradusError

__all__ = ["Complete"]

STDIN = "-"


@dataclass(kw_only=True)
class Complete(RunVerb):
    """Go on with a text: gradus complete RUN "To be, or"."""

    prompt: str = ""
    """What is gone on with (also given as the second word); `-` reads standard input, nothing begins a text."""
    max_new_tokens: int = 200
    """The most tokens."""
    temperature: float = 0.8
    """0 takes the most probable token, 1 draws from the model's own distribution."""
    top_k: int | None = None
    """Draw from this many of the most probable tokens."""
    top_p: float | None = None
    """Draw from the smallest set of tokens that has this probability."""
    repetition_penalty: float = 1.0
    """Above 1 makes tokens that were there already less probable."""
    stop: tuple[str, ...] = ()
    """End before any of these strings."""
    seed: int = 0
    """Seed of the draws."""

    operands: ClassVar[tuple[str, ...]] = ("run", "prompt")
    repeated: ClassVar[str] = "--stop"

    def __call__(self) -> Answer:
        """Load the product and write what follows, as it comes unless one JSON object is wanted."""
        from gradus.engine.capabilities import ask

        prompt = _standard_input() if self.prompt == STDIN else self.prompt
        product = ask(self.product(self.run, self.device), "complete", self.run)
        pieces = product.complete(
            prompt, max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_k=self.top_k,
            top_p=self.top_p, repetition_penalty=self.repetition_penalty, stop=self.stop, seed=self.seed,
        )  # fmt: skip
        written = []
        for piece in pieces:
            written.append(piece)
            if not self.json:
                print(piece, end="", flush=True)
        text = "".join(written)
        if not self.json and not text.endswith("\n"):
            print()
        tokens = len(product.tokenizer.encode(text))
        return Answer({"run": self.run, "prompt": prompt, "completion": text, "tokens": tokens})


def _standard_input() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise GradusError(f"standard input is no UTF-8 at byte {error.start}: convert it first") from None
