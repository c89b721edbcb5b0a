"""The contract of language models: causal, and the same whether a text is read at once or piece by piece.

    forward(x)_t  is a function of x_1 … x_t,      forward(x[:k]); forward(x[k:], state)  ==  forward(x)

`check_language_model` needs no test framework; it raises an AssertionError that says what was broken.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gradus.errors import GradusError
from gradus.sequence.language.models import LanguageModel

__all__ = ["check_language_model"]

VOCABULARY, ROWS, TIME = 11, 4, 9
NEAR = 1e-4


def check_language_model(make: Callable[..., nn.Module]) -> None:
    """Assert the contract of a language model.

    It gives logits of the next token at every position; what comes later, and what other rows say, changes nothing;
    reading goes on from a state, token by token too, as if nothing had been between; a state can be reordered; in
    evaluation mode nothing is drawn; a sequence longer than its context is refused; gradients reach every parameter;
    its weights make another one the same.

    Args:
        make: `make(vocabulary=…)` returns a small model, one of counts with counts in it.

    Raises:
        AssertionError: naming what was broken.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model: Any = make(vocabulary=VOCABULARY).eval()
        tokens = torch.randint(VOCABULARY, (ROWS, TIME))
        assert isinstance(model, LanguageModel), "it needs context, start, forward and reorder"
        _check_logits(model, tokens)
        _check_causality(model, tokens)
        _check_rows(model, tokens)
        _check_state(model, tokens)
        _check_reorder(model, tokens)
        _check_context(model)
        _check_gradients(model, tokens)
        _check_weights(make, model, tokens)


def _logits(model: Any, tokens: Tensor, state: Any = None) -> Tensor:
    with torch.no_grad():
        return model(tokens, state)[0]


def _near(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=NEAR, atol=NEAR)


def _check_logits(model: Any, tokens: Tensor) -> None:
    before = torch.get_rng_state()
    found = _logits(model, tokens)
    wanted = (ROWS, TIME, VOCABULARY)
    assert tuple(found.shape) == wanted, f"the logits have shape {tuple(found.shape)}, not {wanted}"
    assert not bool(found.isnan().any()), "a logit is not a number"
    assert bool(found.logsumexp(-1).isfinite().all()), "a position gives no token any chance"
    assert torch.equal(_logits(model, tokens), found), "reading twice gives two answers in evaluation mode"
    assert torch.equal(torch.get_rng_state(), before), "evaluation draws random numbers"
    other = torch.cat([tokens[:, :-1], (tokens[:, -1:] + 1) % VOCABULARY], 1)
    assert not _near(_logits(model, other)[:, -1], found[:, -1]), "the logits do not depend on the tokens"


def _check_causality(model: Any, tokens: Tensor) -> None:
    found = _logits(model, tokens)
    for t in range(1, TIME):
        changed = tokens.clone()
        changed[:, t:] = (changed[:, t:] + 1) % VOCABULARY
        assert _near(_logits(model, changed)[:, :t], found[:, :t]), f"a token at {t} changes the logits before it"


def _check_rows(model: Any, tokens: Tensor) -> None:
    found = _logits(model, tokens)
    for row in range(ROWS):
        assert _near(_logits(model, tokens[row : row + 1])[0], found[row]), "a row depends on the other rows"


def _check_state(model: Any, tokens: Tensor) -> None:
    found = _logits(model, tokens)
    start = model.start(ROWS, tokens.device)
    assert _near(_logits(model, tokens, start), found), "reading from `start` differs from reading from the beginning"
    for cut in (1, TIME // 2, TIME - 1):
        first, state = _read(model, tokens[:, :cut], model.start(ROWS, tokens.device))
        second, _ = _read(model, tokens[:, cut:], state)
        joined = torch.cat([first, second], 1)
        assert _near(joined, found), f"reading on from the state after {cut} tokens differs from reading at once"
    state = model.start(ROWS, tokens.device)
    for t in range(TIME):
        one, state = _read(model, tokens[:, t : t + 1], state)
        assert _near(one[:, 0], found[:, t]), f"token by token, the logits at {t} differ from reading at once"


def _read(model: Any, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
    with torch.no_grad():
        return model(tokens, state)


def _check_reorder(model: Any, tokens: Tensor) -> None:
    cut = TIME // 2
    for rows in (torch.tensor([2, 0, 3, 1]), torch.tensor([1, 1, 3, 3]), torch.tensor([3, 1])):
        wanted = _logits(model, tokens[rows])[:, cut:]
        _, state = _read(model, tokens[:, :cut], model.start(ROWS, tokens.device))
        found, _ = _read(model, tokens[rows][:, cut:], model.reorder(state, rows))
        assert _near(found, wanted), f"after reorder to rows {rows.tolist()} the model goes on from other texts"


def _check_context(model: Any) -> None:
    context = model.context
    assert context is None or (isinstance(context, int) and context > 0), f"context is {context!r}: a number or None"
    if context is None:
        assert _logits(model, torch.zeros(1, 40, dtype=torch.long)).shape[1] == 40, "it does not read 40 tokens"
        return
    assert _logits(model, torch.zeros(1, context, dtype=torch.long)).shape[1] == context, "it cannot fill its context"
    try:
        _logits(model, torch.zeros(1, context + 1, dtype=torch.long))
    except GradusError:
        return
    except Exception as error:
        raise AssertionError(f"a text beyond the context ends in {type(error).__name__}: {error}") from error
    raise AssertionError("a text beyond the context is read as if it were within")


def _check_gradients(model: Any, tokens: Tensor) -> None:
    parameters = dict(model.named_parameters())
    if not parameters:
        return
    model.zero_grad()
    logits, _ = model(tokens)
    (logits.log_softmax(-1) * torch.randn(logits.shape)).sum().backward()
    idle = [name for name, p in parameters.items() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    model.zero_grad()
    assert not idle, f"no gradient reaches {', '.join(idle[:3])}"


def _check_weights(make: Callable[..., nn.Module], model: Any, tokens: Tensor) -> None:
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        other = make(vocabulary=VOCABULARY).eval()
    other.load_state_dict(state)
    assert torch.equal(_logits(other, tokens), _logits(model, tokens)), "the same weights give other logits"
    doubled = [a for a in state for b in state if a < b and _shared(model, a, b)]
    assert not doubled, f"{doubled[0]} is saved under two names"


def _shared(model: nn.Module, one: str, other: str) -> bool:
    a, b = (model.state_dict(keep_vars=True)[name] for name in (one, other))
    return a.numel() > 0 and a.data_ptr() == b.data_ptr()
