"""What language models minimise, and how those of counts learn: the next token.

    L = −1/(B T) Σ_b Σ_t log p(x_{b,t+1} | x_{b,1} … x_{b,t})

Streams are read in stretches, and the state behind one stretch is where the next begins. Its graph is cut there:
truncated backpropagation through time, whose gradients go back to the beginning of a stretch and no further. The state
belongs to the objective, and is saved with the learner.

References:
    Williams and Peng 1990, An efficient gradient-based algorithm for on-line training of recurrent network
    trajectories. Szegedy et al. 2016, Rethinking the Inception architecture (label smoothing).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradus.engine.device import Ranks
from gradus.engine.state import State, notice_change
from gradus.nn.recurrent import detached
from gradus.sequence.language.evaluating import token_cost
from gradus.sequence.language.models import device_of, make

__all__ = ["CountTokens", "NextToken"]

BEGINNING = 200_000  # tokens of the training text that a model of counts tells its loss on


class NextToken:
    """The mean cross-entropy of the next token.

    Args:
        label_smoothing: probability mass spread evenly over the vocabulary.
        carry: whether a step begins with the state in which the last one ended; batches then say which rows begin anew.
        ranks: of a distributed run; each carries the state of its own streams.
    """

    def __init__(self, *, label_smoothing: float = 0.0, carry: bool = False, ranks: Ranks | None = None) -> None:
        self.label_smoothing, self.carry, self.ranks = label_smoothing, carry, ranks or Ranks()
        self._carried: Any = None

    def __repr__(self) -> str:
        return f"NextToken(label_smoothing={self.label_smoothing}, carry={self.carry})"

    def __call__(self, network: nn.Module, batch: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the loss of a batch; with a carried state, the state behind it is kept for the next."""
        x, y = batch[0], batch[1]
        if self.carry:
            logits, state = network(x, self._begin(network, batch))
            self._carried = detached(state)
        else:
            logits, _ = network(x)
        scores = logits.flatten(0, 1).to(torch.promote_types(logits.dtype, torch.float32))
        return F.cross_entropy(scores, y.flatten(), label_smoothing=self.label_smoothing), {}

    def _begin(self, network: Any, batch: Any) -> Any:
        """Return the state to begin a stretch with."""
        x, fresh = batch[0], batch.fresh
        if self._carried is None:
            return network.start(len(x), x.device)
        kept = self._carried
        kept = tuple(part.to(x.device) for part in kept) if isinstance(kept, tuple) else kept.to(x.device)
        return network.restart(kept, fresh)

    def state_dict(self) -> State:
        """Return the carried state of every rank."""
        return {"carried": self.ranks.gather(self._carried)}

    def load_state_dict(self, state: State) -> None:
        """Go on with what was carried."""
        carried = state["carried"]
        self._carried = carried[self.ranks.rank] if self.ranks.rank < len(carried) else None


class CountTokens:
    """The learner of models of counts: its one step counts the whole text.

    Args:
        model: registered name.
        vocabulary: number of tokens.
        settings: further keywords of its builder.
        facts: whatever the product needs besides.
        fingerprint: of the data, to notice on resume that it has changed.
    """

    def __init__(
        self, model: str, vocabulary: int, settings: Mapping[str, Any], facts: Any = None, fingerprint: str = ""
    ) -> None:
        self.model, self.vocabulary, self.settings = model, vocabulary, dict(settings)
        self.facts, self.fingerprint = facts, fingerprint
        self._found: dict[str, Tensor] | None = None

    def __repr__(self) -> str:
        return f"CountTokens({self.model if self._found is None else self.network})"

    @property
    def network(self) -> nn.Module:
        """The model that was counted."""
        assert self._found is not None, "no step has been made"
        model = make(self.model, self.vocabulary, 0, self.settings)
        model.load_state_dict(self._found)
        return model.eval()

    def step(self, batch: Tensor) -> Mapping[str, Tensor | float]:
        """Count a text, one row of tokens; returns the mean loss on its beginning."""
        model: Any = make(self.model, self.vocabulary, 0, self.settings)
        stream = batch[0].to(device_of(model))
        model.fit(stream)
        self._found = dict(model.state_dict())
        return {"loss": token_cost(model, stream[:BEGINNING]).nats} if len(stream) > 1 else {}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Do nothing: there is one answer."""
        yield

    def state_dict(self) -> State:
        """Return the counts."""
        return {"found": self._found, "fingerprint": self.fingerprint}

    def load_state_dict(self, state: State) -> None:
        """Put them back."""
        self._found = state["found"]
        notice_change(state["fingerprint"], self.fingerprint)
