"""N-gram language models: the next token from counts of the n − 1 before it.

    add-k        p(w | h) = (c(hw) + k) / (c(h·) + k V)
    Kneser–Ney   pⱼ(w | h) = (cⱼ(hw) − D(cⱼ(hw))) / cⱼ(h·) + γⱼ(h) pⱼ₋₁(w | h′),      p₀ = 1 / V
                 γⱼ(h) = (D₁ N₁(h·) + D₂ N₂(h·) + D₃ N₃₊(h·)) / cⱼ(h·)

h′ is h without its oldest token. The highest order counts occurrences; a lower one counts in how many contexts a token
was seen, cⱼ(hw) = |{v : c(vhw) > 0}|, because it is asked only where the longer history says little: "Francisco" is
frequent but follows one word. Nᵢ(h·) is the number of tokens that followed h i times. With nᵢ n-grams of count i,

    D = n₁ / (n₁ + 2 n₂),      modified: Dᵢ = i − (i + 1) D nᵢ₊₁ / nᵢ  for i = 1, 2, and 3 or more

The n-grams of order j are the nodes of depth j of a trie. A node is its place in a sorted table of

    key = node of the first j − 1 tokens × V + last token

so that a table is two columns of integers, a lookup of a million n-grams is one `searchsorted`, and all probabilities
follow from integers. Text is one stream: what is before its first token is unknown, and a history that is shorter than
n − 1 tokens, or was never seen, is answered by the order that knows it (add-k: an unseen history by 1/V).

References:
    Kneser and Ney 1995, Improved backing-off for m-gram language modeling.
    Chen and Goodman 1999, An empirical study of smoothing techniques for language modeling.
    Jurafsky and Martin 2025, Speech and language processing, chapter 3 (add-k).
    Heafield et al. 2013, Scalable modified Kneser-Ney language model estimation (discounts of small data).

Deviations:
    No sentence is padded at its beginning: a stream has none, and an end-of-text token is a token like others.
    Where counts of counts give no discount between 0 and i, an order has the discounts ½, 1 and 1½.
"""

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.metrics.metric import wide

__all__ = ["NGram"]

FALLBACK = (0.5, 1.0, 1.5)
Nodes = list[Tensor]
"""Node of the j tokens that end at each position, for j = 1, 2, …; −1 where they were never seen or are not there."""


def _example(vocabulary: int = 11) -> "NGram":
    stream = torch.randint(vocabulary, (400,), generator=torch.Generator().manual_seed(3))
    return NGram(vocabulary, order=3).fit(stream)


@canon(
    "sequence/ngram-language-model",
    kind="language-model",
    paper="Chen and Goodman 1999, An empirical study of smoothing techniques for language modeling",
    names=("ngram",),
    example=_example,
)
class NGram(nn.Module):
    """Counts of n-grams, smoothed: interpolated Kneser–Ney, modified or with one discount, or add-k.

    Args:
        vocabulary: V.
        order: n, the tokens of an n-gram.
        smoothing: modified (three discounts an order), kneser-ney (one), or add-k.
        discount: D of kneser-ney; estimated for each order when left out.
        k: added to every count by add-k; 0 is maximum likelihood.

    Raises:
        GradusError: if these make no model.
    """

    context: int | None = None

    def __init__(
        self,
        vocabulary: int,
        order: int = 5,
        smoothing: Literal["modified", "kneser-ney", "add-k"] = "modified",
        discount: float | None = None,
        k: float = 0.1,
    ) -> None:
        super().__init__()
        if vocabulary < 1 or order < 1:
            raise GradusError(
                f"an n-gram model needs a vocabulary and an order of at least 1, not {vocabulary}, {order}"
            )
        if smoothing not in ("modified", "kneser-ney", "add-k"):
            raise GradusError(f"n-grams are smoothed by modified, kneser-ney or add-k, not {smoothing!r}")
        if discount is not None and (smoothing != "kneser-ney" or not 0 < discount < 1):
            raise GradusError("a discount is between 0 and 1, and for smoothing=kneser-ney only")
        if not k >= 0:
            raise GradusError(f"k={k}: add-k adds zero or more")
        self.vocabulary, self.order, self.smoothing, self.discount, self.k = vocabulary, order, smoothing, discount, k
        self.discounts: list[tuple[float, float, float]] = []
        for j in range(1, order + 1):
            size = vocabulary if j == 1 else 0
            self.register_buffer(f"counts{j}", torch.zeros(size, dtype=torch.int32))
            if j > 1:
                self.register_buffer(f"keys{j}", torch.zeros(0, dtype=torch.int64))
        self._derive()

    def extra_repr(self) -> str:
        sizes = " + ".join(f"{int((self._counts(j) > 0).sum())}" for j in range(1, self.order + 1))
        return f"vocabulary={self.vocabulary}, order={self.order}, {self.smoothing}, {sizes} n-grams"

    # -- counting ---------------------------------------------------------------------------------------------------

    def fit(self, tokens: Int[Tensor, " tokens"]) -> "NGram":
        """Count a stream of tokens, in place of what was counted before; returns itself.

        Args:
            tokens: the stream.

        Raises:
            GradusError: if it is empty or holds a token outside the vocabulary.
        """
        if not len(tokens):
            raise GradusError("there is no text to count n-grams in")
        self._require_known(tokens)
        stream = tokens.long()
        # Windows are numbered by where they begin: window i of order j has the parent i and the suffix i + 1.
        node, raw = stream, torch.bincount(stream, minlength=self.vocabulary)
        for j in range(2, self.order + 2):
            last = j > self.order
            if last or self.smoothing == "add-k":
                self._put(j - 1, raw)
            if last:
                break
            keys, grown, counts = torch.unique(
                node[: max(len(stream) - j + 1, 0)] * self.vocabulary + stream[j - 1 :],
                return_inverse=True,
                return_counts=True,
            )
            if self.smoothing != "add-k":
                suffix = torch.empty_like(keys)
                suffix[grown] = node[1:]
                self._put(j - 1, torch.bincount(suffix, minlength=len(raw)))
            setattr(self, f"keys{j}", keys)
            node, raw = grown, counts
        self._derive()
        return self

    def _put(self, j: int, counts: Tensor) -> None:
        setattr(self, f"counts{j}", counts.to(torch.int32))

    def _counts(self, j: int) -> Tensor:
        return getattr(self, f"counts{j}")

    def _keys(self, j: int) -> Tensor:
        return getattr(self, f"keys{j}")

    def _derive(self) -> None:
        """Sum the tables over the successors of each history: c(h·), and N₁, N₂, N₃₊."""
        self.discounts = []
        for j in range(1, self.order + 1):
            counts = self._counts(j).long()
            histories = 1 if j == 1 else max(1, len(self._counts(j - 1)))
            parents = torch.zeros_like(counts) if j == 1 else self._keys(j) // self.vocabulary
            total = counts.new_zeros(histories).index_add_(0, parents, counts)
            seen = counts > 0
            place = parents[seen] * 3 + counts[seen].clamp(max=3) - 1
            kinds = torch.bincount(place, minlength=3 * histories).view(-1, 3)
            self.register_buffer(f"total{j}", total, persistent=False)
            self.register_buffer(f"kinds{j}", kinds, persistent=False)
            self.discounts.append(self._discounts(counts))

    def _discounts(self, counts: Tensor) -> tuple[float, float, float]:
        """Return D₁, D₂ and D₃ of an order."""
        if self.smoothing == "add-k":
            return 0.0, 0.0, 0.0
        if self.discount is not None:
            return self.discount, self.discount, self.discount
        _, n1, n2, n3, n4 = torch.bincount(counts.clamp(max=5), minlength=5)[:5].tolist()
        shared = n1 / (n1 + 2 * n2) if n1 else 0.0
        if self.smoothing == "kneser-ney":
            return (shared, shared, shared) if 0 < shared < 1 else (FALLBACK[0],) * 3
        if 0 in (n1, n2, n3):
            return FALLBACK
        found = tuple(i - (i + 1) * shared * more / less for i, less, more in ((1, n1, n2), (2, n2, n3), (3, n3, n4)))
        return found if all(0 < d < i for i, d in enumerate(found, 1)) else FALLBACK  # type: ignore[return-value]

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Make room for tables of any size, and sum them up again."""
        for j in range(2, self.order + 1):
            for name in (f"counts{j}", f"keys{j}"):
                if prefix + name in state_dict:
                    own = getattr(self, name)
                    setattr(self, name, own.new_empty(state_dict[prefix + name].shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self._derive()

    # -- looking up -------------------------------------------------------------------------------------------------

    def _require_known(self, tokens: Tensor) -> None:
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < self.vocabulary:
            raise GradusError(
                f"there is a token outside the vocabulary of {self.vocabulary}: encode with its tokenizer"
            )

    def _find(self, j: int, parent: Tensor, token: Tensor) -> Tensor:
        """Return the nodes of depth j below some parents; −1 where there is none."""
        keys = self._keys(j)
        if not len(keys):
            return torch.full_like(parent, -1)
        wanted = parent * self.vocabulary + token
        place = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
        return torch.where((parent >= 0) & (token >= 0) & (keys[place] == wanted), place, -1)

    def _histories(self, tokens: Tensor, state: Tensor | None) -> tuple[Nodes, Tensor, Tensor]:
        """Return the node of every history at every position of `tokens`, the stream, and the state after it."""
        self._require_known(tokens)
        state = self.start(len(tokens), tokens.device) if state is None else state
        stream = torch.cat([state, tokens.long()], 1)
        kept = state.shape[1]
        nodes = [stream]
        for j in range(2, self.order):
            before = torch.nn.functional.pad(nodes[-1], (1, 0), value=-1)[:, :-1]
            nodes.append(self._find(j, before, stream))
        return [node[:, kept:] for node in nodes], stream, stream[:, stream.shape[1] - kept :]

    def _spread(self, j: int, history: Tensor, known: Tensor, lower: Tensor) -> tuple[Tensor, Tensor]:
        """Return what all tokens get from below at order j, and what a count is divided by.

        Args:
            j: the order.
            history: its nodes; −1 where it was never seen.
            known: whether there are j − 1 tokens before.
            lower: p of the order below, with any further dimensions.
        """
        dtype = lower.dtype
        place = history.clamp(min=0)
        total = torch.where(history >= 0, getattr(self, f"total{j}")[place], 0).to(dtype)
        more = (slice(None),) * history.ndim + (None,) * (lower.ndim - history.ndim)
        uniform = 1 / self.vocabulary
        if self.smoothing == "add-k":
            mass = total + self.k * self.vocabulary
            left = torch.where(total > 0, self.k * self.vocabulary / mass.clamp(min=1e-30), 1.0) * uniform
            return torch.where(known[more], left[more].expand_as(lower), lower), torch.where(total > 0, mass, 1.0)
        discounts = torch.tensor(self.discounts[j - 1], dtype=dtype, device=lower.device)
        gamma = (getattr(self, f"kinds{j}")[place].to(dtype) @ discounts) / total.clamp(min=1)
        return lower * torch.where(total > 0, gamma, 1.0)[more], total.clamp(min=1)

    def _discounted(self, j: int, counts: Tensor, dtype: torch.dtype) -> Tensor:
        table = torch.tensor((0.0, *self.discounts[j - 1]), dtype=dtype, device=counts.device)
        return counts.to(dtype) - table[counts.clamp(max=3)]

    def log_probs(
        self,
        tokens: Int[Tensor, "batch time"],
        targets: Int[Tensor, "batch time"],
        state: Int[Tensor, "batch past"] | None = None,
    ) -> tuple[Float[Tensor, "batch time"], Int[Tensor, "batch past"]]:
        """Return log p(target | tokens up to its position) and the state: what `forward` says of one token each.

        Args:
            tokens: streams.
            targets: the token after each; any that is negative counts as token 0.
            state: of what was before; unknown by default.
        """
        nodes, stream, after = self._histories(tokens, state)
        wanted = targets.long().clamp(min=0)
        self._require_known(wanted)
        p = torch.full(wanted.shape, 1 / self.vocabulary, dtype=wide(tokens.device), device=tokens.device)
        for j in range(1, self.order + 1):
            history = torch.zeros_like(wanted) if j == 1 else nodes[j - 2]
            p, mass = self._spread(j, history, self._known(j, stream, tokens.shape[1]), p)
            node = wanted if j == 1 else self._find(j, history, wanted)
            counts = self._counts(j)
            if len(counts):
                found = torch.where(node >= 0, counts[node.clamp(min=0)], 0)
                p = p + self._discounted(j, found, p.dtype) / mass
        return p.log(), after

    def _known(self, j: int, stream: Tensor, time: int) -> Tensor:
        """Return where the j − 1 tokens of a history of order j are there."""
        oldest = torch.nn.functional.pad(stream, (max(j - 2, 0), 0), value=-1)[:, : stream.shape[1]]
        return oldest[:, stream.shape[1] - time :] >= 0

    def probabilities(
        self, tokens: Int[Tensor, "batch time"], state: Int[Tensor, "batch past"] | None = None
    ) -> tuple[Float[Tensor, "batch time vocabulary"], Int[Tensor, "batch past"]]:
        """Return the distribution of the next token at every position, in double precision, and the state.

        Args:
            tokens: streams.
            state: of what was before; unknown by default.
        """
        nodes, stream, after = self._histories(tokens, state)
        batch, time = tokens.shape
        shape, dtype = (batch * time, self.vocabulary), wide(tokens.device)
        p = torch.full(shape, 1 / self.vocabulary, dtype=dtype, device=tokens.device)
        for j in range(1, self.order + 1):
            history = tokens.new_zeros(batch * time).long() if j == 1 else nodes[j - 2].reshape(-1)
            p, mass = self._spread(j, history, self._known(j, stream, time).reshape(-1), p)
            rows, places = self._children(j, history)
            followers = places if j == 1 else self._keys(j)[places] % self.vocabulary
            p[rows, followers] += self._discounted(j, self._counts(j)[places], dtype) / mass[rows]
        return p.view(batch, time, -1), after

    def _children(self, j: int, history: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nodes below each history, as pairs of the history's row and the node."""
        if j == 1:
            first = torch.zeros_like(history)
            last = first + self.vocabulary
        else:
            keys = self._keys(j)
            first = torch.searchsorted(keys, history.clamp(min=0) * self.vocabulary)
            last = torch.searchsorted(keys, (history + 1) * self.vocabulary)
        counts = (last - first).clamp(min=0) * (history >= 0)
        rows = torch.repeat_interleave(torch.arange(len(history), device=history.device), counts)
        within = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
        return rows, first[rows] + within

    # -- a language model -------------------------------------------------------------------------------------------

    def start(self, batch: int, device: torch.device | str = "cpu") -> Int[Tensor, "batch past"]:
        """Return the state before any token: n − 1 places with nothing known."""
        return torch.full((batch, self.order - 1), -1, dtype=torch.int64, device=device)

    def forward(
        self, tokens: Int[Tensor, "batch time"], state: Int[Tensor, "batch past"] | None = None
    ) -> tuple[Float[Tensor, "batch time vocabulary"], Int[Tensor, "batch past"]]:
        """Return the log-probability of every next token at every position, and the last n − 1 tokens.

        Args:
            tokens: streams.
            state: the n − 1 tokens before them, −1 for none; none by default.
        """
        p, after = self.probabilities(tokens, state)
        return p.log().float(), after

    def reorder(self, state: Int[Tensor, "batch past"], rows: Int[Tensor, " chosen"]) -> Int[Tensor, "chosen past"]:
        """Return the state in which row i goes on as a copy of row `rows[i]`."""
        return state.index_select(0, rows)
