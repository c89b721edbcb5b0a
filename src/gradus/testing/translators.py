"""The contract of translators: encoder–decoders that write a target token by token.

    step by step = all at once;   no look at what comes later;   padding changes nothing;   each sentence by itself

`check_translator` needs no test framework; it raises an AssertionError that says what was broken.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from gradus.sequence.translation.beam_search import Shared, beam_search, reordered
from gradus.sequence.translation.models import EncoderDecoder, stepper

__all__ = ["check_translator"]

SOURCES, TARGETS = (5, 3, 1), 4
PAD, BEGIN, END = 0, 1, 2
TOLERANCE = 1e-5


def check_translator(make: Callable[[], EncoderDecoder]) -> None:
    """Assert the contract of a translator.

    Logits have the right shape and depend on the source and on every earlier target token, never on a later one;
    a source alone gives what it gives in a padded batch; stepping gives what decoding a known target gives, and goes
    on rightly after its hypotheses have changed places; gradients reach every parameter; weights of attention are
    shares of the source; evaluation is deterministic; a beam search over it gives results that score what they say;
    the state dict makes the same model again.

    Args:
        make: returns a small translator; the vocabulary of its source has 11 tokens, that of its target 9.

    Raises:
        AssertionError: naming what was broken.
    """
    torch.manual_seed(0)
    model = make()
    _check_gradients(model)
    model.eval()
    with torch.no_grad():
        batch = _batch()
        logits = model(*batch)
        _check_logits(model, logits, *batch)
        _check_padding(model, logits, *batch)
        _check_steps(model, logits, *batch)
        _check_attention(model, *batch)
        _check_search(model, *batch)
        _check_state(model, make, logits, *batch)


def _batch() -> tuple[Tensor, Tensor, Tensor]:
    numbers = torch.Generator().manual_seed(1)
    lengths = torch.tensor(SOURCES)
    source = torch.randint(3, 11, (len(SOURCES), max(SOURCES)), generator=numbers)
    source[torch.arange(max(SOURCES)) >= lengths[:, None]] = PAD
    tokens = torch.randint(3, 9, (len(SOURCES), TARGETS), generator=numbers)
    tokens[:, 0] = BEGIN
    return source, lengths, tokens


def _largest(values: Tensor) -> float:
    return float(values.max()) if values.numel() else 0.0


def _apart(one: Tensor, other: Tensor) -> float:
    return _largest((one - other).abs())


def _check_gradients(model: EncoderDecoder) -> None:
    model.train()
    logits = model(*_batch())
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
    (logits * weights).sum().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, f"no gradient reaches {name}"
        assert bool(p.grad.isfinite().all()), f"the gradient of {name} is not finite"
        assert bool((p.grad != 0).any()), f"the gradient of {name} is zero"
    model.zero_grad()


def _check_logits(model: EncoderDecoder, logits: Tensor, source: Tensor, lengths: Tensor, tokens: Tensor) -> None:
    wanted = (*tokens.shape, 9)
    assert logits.shape == wanted, f"the logits have shape {tuple(logits.shape)}, not {wanted}"
    assert bool(logits.isfinite().all()), "a logit is not finite"
    assert torch.equal(model(source, lengths, tokens), logits), "evaluating twice gives other logits"
    for t in range(1, TARGETS):
        other = tokens.clone()
        other[:, t] = (other[:, t] - 2) % 6 + 3
        changed = (model(source, lengths, other) - logits).abs().amax((0, 2))
        assert float(changed[:t].max()) < TOLERANCE, "a logit depends on a later token"
        assert float(changed[t:].min()) > 0, "a logit does not depend on an earlier token"
    for j in range(max(SOURCES)):
        other = source.clone()
        other[:, j] = (other[:, j] - 2) % 8 + 3
        moved = (model(other, lengths, tokens) - logits).abs().amax((1, 2))
        for i, length in enumerate(SOURCES):
            assert j >= length or float(moved[i]) > 0, "a logit does not depend on the source"


def _check_padding(model: EncoderDecoder, logits: Tensor, source: Tensor, lengths: Tensor, tokens: Tensor) -> None:
    for i, length in enumerate(SOURCES):
        alone = model(source[i : i + 1, :length], lengths[i : i + 1], tokens[i : i + 1])
        assert _apart(alone[0], logits[i]) < TOLERANCE, "padding or the other sentences change a logit"


def _check_steps(model: EncoderDecoder, logits: Tensor, source: Tensor, lengths: Tensor, tokens: Tensor) -> None:
    state = model.start(model.encode(source, lengths), TARGETS)
    for t in range(TARGETS):
        found, state = model.step(state, tokens[:, t])
        assert _apart(found, logits[:, t]) < TOLERANCE, f"step {t + 1} gives other logits than decoding all at once"
    # Two hypotheses a sentence, which differ in their second token and then change places.
    memory = model.encode(source, lengths)
    twice = torch.arange(len(source)).repeat_interleave(2)
    state = model.start(memory, TARGETS)
    _, state = model.step(state, tokens[:, 0])
    state = reordered(state, twice)
    both = tokens[twice].clone()
    both[1::2, 1] = (both[1::2, 1] - 2) % 6 + 3
    _, state = model.step(state, both[:, 1])
    swapped = torch.arange(len(twice)).view(-1, 2).flip(1).flatten()
    found, state = model.step(reordered(state, swapped), both[:, 2])
    wanted = model(source[twice], lengths[twice], both[swapped])[:, 2]
    assert _apart(found, wanted) < TOLERANCE, "after hypotheses change places they do not go on from their own state"
    # The first sentence is done: the rows of the others go on.
    left = torch.arange(1, len(source))
    rows = torch.arange(2, len(twice))
    found, _ = model.step(reordered(state, rows, left), both[rows, 3])
    wanted = model(source[twice], lengths[twice], both[swapped])[rows, 3]
    assert _apart(found, wanted) < TOLERANCE, "when a sentence is done the others do not go on from their own state"


def _check_attention(model: EncoderDecoder, source: Tensor, lengths: Tensor, tokens: Tensor) -> None:
    weights = model.attention(model.encode(source, lengths), tokens)
    if weights is None:
        return
    wanted = (*tokens.shape, source.shape[1])
    assert weights.shape == wanted, f"the weights have shape {tuple(weights.shape)}, not {wanted}"
    assert float(weights.min()) >= 0, "a weight of the attention is negative"
    assert _apart(weights.sum(-1), torch.ones(())) < TOLERANCE, "the weights of a step do not sum to one"
    behind = torch.arange(source.shape[1]) >= lengths[:, None]
    assert _largest(weights.amax(1)[behind]) == 0, "the attention looks at padding"


def _check_search(model: EncoderDecoder, source: Tensor, lengths: Tensor, tokens: Tensor) -> None:
    memory = model.encode(source, lengths)
    begins = torch.full((len(source),), BEGIN)
    step = stepper(model, torch.tensor([PAD, BEGIN]))
    found = beam_search(step, model.start(memory, 6), begins, end=END, longest=6, width=3, best=3)
    for i, some in enumerate(found):
        for one in some:
            written = torch.tensor([[BEGIN, *one.tokens, *([END] if one.ended else [])]])
            logits = model(source[i : i + 1], lengths[i : i + 1], written[:, :-1]).clone()
            logits[..., [PAD, BEGIN]] = -torch.inf
            total = logits.log_softmax(-1).gather(2, written[:, 1:, None]).sum()
            assert abs(float(total) - one.log_prob) < 10 * TOLERANCE, "a search's result is not as likely as it says"


def _check_state(model: EncoderDecoder, make: Callable[[], EncoderDecoder], logits: Tensor, *batch: Tensor) -> None:
    again = make().eval()
    kept = copy.deepcopy(dict(model.state_dict()))
    again.load_state_dict(kept)
    assert torch.equal(again(*batch), logits), "the model made again from its state dict differs"
    shared = [name for name, part in _flat(model.start(model.encode(*batch[:2]), 2)) if name == "shared"]
    assert shared or model.attention(model.encode(*batch[:2]), batch[2]) is None, (
        "what it knows of the source is not Shared: a search would copy it at every step"
    )


def _flat(state: object) -> list[tuple[str, object]]:
    if isinstance(state, Shared):
        return [("shared", state.value)]
    if isinstance(state, tuple | list):
        return [pair for part in state for pair in _flat(part)]
    return [("own", state)]
