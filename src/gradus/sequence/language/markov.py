"""The Markov chain: the next token depends on the present one alone.

    p(w | v) = (c(vw) + k) / (c(v·) + k V),      π = π P,      H = −Σ_v π_v Σ_w P_vw log P_vw

k = 0 is maximum likelihood. π is the share of time that an endless text spends at each token, and the entropy rate H is
the loss that the chain has on text of its own: no model does better there.

References:
    Markov 1913, An example of statistical investigation of the text Eugene Onegin.
    Shannon 1948, A mathematical theory of communication.
    Levin, Peres and Wilmer 2009, Markov chains and mixing times, chapter 1 (lazy chains).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.metrics.metric import wide
from gradus.sequence.language.ngram import NGram

__all__ = ["MarkovChain"]

SWEEPS, ENOUGH = 10_000, 1e-12


def _example(vocabulary: int = 11) -> "MarkovChain":
    stream = torch.randint(vocabulary, (400,), generator=torch.Generator().manual_seed(3))
    return MarkovChain(vocabulary).fit(stream)


@canon(
    "sequence/markov-chain",
    kind="language-model",
    paper="Markov 1913, An example of statistical investigation of the text Eugene Onegin",
    names=("markov",),
    example=_example,
)
class MarkovChain(nn.Module):
    """A chain of order one, with its stationary distribution.

    Args:
        vocabulary: V.
        k: added to every count of a transition; 0 is maximum likelihood, which gives transitions never seen no chance.

    Raises:
        GradusError: if k is negative or the vocabulary empty.
    """

    context: int | None = None

    def __init__(self, vocabulary: int, k: float = 0.01) -> None:
        super().__init__()
        self.chain = NGram(vocabulary, order=2, smoothing="add-k", k=k)
        self.register_buffer("stationary", torch.full((vocabulary,), 1 / vocabulary, dtype=wide(torch.device("cpu"))))
        self.stationary: Tensor

    def fit(self, tokens: Int[Tensor, " tokens"]) -> "MarkovChain":
        """Count the transitions of a stream of tokens; returns itself.

        Args:
            tokens: the stream, two tokens at least.

        Raises:
            GradusError: if there is no transition in it.
        """
        if len(tokens) < 2:
            raise GradusError("a Markov chain is learned from transitions: give at least two tokens of text")
        self.chain.fit(tokens)
        self.stationary.copy_(self._settled())
        return self

    def _sparse(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return P without its zeros: from, to and probability of each transition seen; and of one from v not seen.

        The last tensor says how many those are.
        """
        chain, dtype = self.chain, self.stationary.dtype
        keys, counts, total = (getattr(chain, name) for name in ("keys2", "counts2", "total2"))
        v, w = keys // chain.vocabulary, keys % chain.vocabulary
        mass = total.to(dtype) + chain.k * chain.vocabulary
        unseen = torch.where(total > 0, chain.k / mass.clamp(min=1e-30), 1 / chain.vocabulary)
        others = chain.vocabulary - torch.bincount(v, minlength=chain.vocabulary)
        return v, w, (counts.to(dtype) + chain.k) / mass[v], unseen, others

    def _settled(self) -> Float[Tensor, " vocabulary"]:
        """Return π by the power method on (P + 1)/2, which has no period, from the tokens' own frequencies."""
        v, w, p, unseen, _ = self._sparse()
        pi = getattr(self.chain, "counts1").to(p.dtype)  # noqa: B009 - a buffer, which mypy takes for a module
        pi = pi / pi.sum()
        for _ in range(SWEEPS):
            everywhere = pi * unseen
            moved = torch.zeros_like(pi).index_add_(0, w, pi[v] * p - everywhere[v]) + everywhere.sum()
            change = float((moved - pi).abs().sum())
            pi = (moved + pi) / 2
            if change < ENOUGH:
                break
        return pi / pi.sum()

    def entropy_rate(self) -> float:
        """Return H in nats a token: the loss that no model of this chain's text can beat."""
        v, _, p, unseen, others = self._sparse()
        seen = (self.stationary[v] * torch.special.entr(p)).sum()
        return float(seen + (self.stationary * others * torch.special.entr(unseen)).sum())

    def log_probs(
        self,
        tokens: Int[Tensor, "batch time"],
        targets: Int[Tensor, "batch time"],
        state: Int[Tensor, "batch 1"] | None = None,
    ) -> tuple[Float[Tensor, "batch time"], Int[Tensor, "batch 1"]]:
        """Return log p(target | token) and the state; a target that is negative counts as token 0."""
        return self.chain.log_probs(tokens, targets, state)

    def start(self, batch: int, device: torch.device | str = "cpu") -> Int[Tensor, "batch 1"]:
        """Return the state before any token."""
        return self.chain.start(batch, device)

    def forward(
        self, tokens: Int[Tensor, "batch time"], state: Int[Tensor, "batch 1"] | None = None
    ) -> tuple[Float[Tensor, "batch time vocabulary"], Int[Tensor, "batch 1"]]:
        """Return the log-probability of every next token at every position, and the last token.

        Args:
            tokens: streams.
            state: the token before them, which no longer matters.
        """
        return self.chain(tokens, state)

    def reorder(self, state: Int[Tensor, "batch 1"], rows: Int[Tensor, " chosen"]) -> Int[Tensor, "chosen 1"]:
        """Return the state in which row i goes on as a copy of row `rows[i]`."""
        return self.chain.reorder(state, rows)
