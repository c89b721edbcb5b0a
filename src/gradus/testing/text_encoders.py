"""The contract of text encoders: features of every token by layer, which know the whole text and nothing else.

    features(text) is a function of the text: not of its padding, nor of what else is in the batch
    layer 0 knows a token and its place; the last layer knows what stands before it, behind it, and in which order

`check_text_encoder` needs no test framework; it raises an AssertionError that says what was broken.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gradus.sequence.encoder.masking import Masking
from gradus.sequence.encoder.models import adopt
from gradus.sequence.encoder.objectives import costs

__all__ = ["check_text_encoder"]

TOLERANCE = 1e-5
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LONGEST = 9


def check_text_encoder(make: Callable[[], nn.Module], vocabulary: int = 30) -> None:
    """Assert the contract of an encoder with what it learns from unlabelled text.

    It has the same features for a text in any batch, with any padding, every time; the last layer's depend on tokens
    before and behind and on their order, the first layer's on no neighbour; its objective reaches every trainable
    parameter; all its features come from `trunk`, whose weights can be passed on, and from its state.

    Args:
        make: gives a fresh encoder of kind `text-encoder`.
        vocabulary: number of its tokens; 10 or more.

    Raises:
        AssertionError: naming what was broken.
    """
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = make()
        _check_form(module, vocabulary)
        _check_padding(module, vocabulary)
        _check_context(module, vocabulary)
        _check_learning(make(), vocabulary)
        _check_state(make, module, vocabulary)


def _texts(vocabulary: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Return texts of different lengths, padded with 0."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(len(SPECIALS), vocabulary, (4, LONGEST), generator=generator)
    lengths = torch.tensor([LONGEST, 4, 7, 1])
    return tokens * (torch.arange(LONGEST) < lengths[:, None]), lengths


def _features(module: nn.Module, tokens: Tensor, lengths: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return module.eval().features(tokens, lengths)  # type: ignore[operator]


def _gap(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def _check_form(module: nn.Module, vocabulary: int) -> None:
    assert isinstance(getattr(module, "trunk", None), nn.Module), "there is no `trunk`, which is what is passed on"
    frame = getattr(module, "frame", ())
    assert len(frame) == 2, "`frame` names the special tokens before and behind a text"
    assert type(module).__name__ in repr(module), "`repr` says nothing"
    tokens, lengths = _texts(vocabulary)
    states = _features(module, tokens, lengths)
    assert len(states) >= 2, f"features are of {len(states)} layers: the embeddings' and one at least"
    for layer, state in enumerate(states):
        assert state.shape == (*tokens.shape, module.width), (
            f"layer {layer} has the shape {tuple(state.shape)}, not batch × time × width {module.width}"
        )
        assert bool(torch.isfinite(state[:, :1]).all()), f"layer {layer} is not finite"
    again = _features(module, tokens, lengths)
    assert all(map(torch.equal, states, again)), "asking twice gives two answers"


def _check_padding(module: nn.Module, vocabulary: int) -> None:
    tokens, lengths = _texts(vocabulary)
    there = torch.arange(LONGEST) < lengths[:, None]
    states = _features(module, tokens, lengths)
    other = torch.where(there, tokens, vocabulary - 1)
    for mine, theirs in zip(states, _features(module, other, lengths), strict=True):
        assert _gap(mine[there], theirs[there]) < TOLERANCE, "what stands in the padding matters"
    for i, length in enumerate(lengths.tolist()):
        alone = _features(module, tokens[i : i + 1, :length], lengths[i : i + 1])
        for mine, theirs in zip(states, alone, strict=True):
            assert _gap(mine[i, :length], theirs[0]) < TOLERANCE, "a text alone has other features than in a batch"


def _check_context(module: nn.Module, vocabulary: int) -> None:
    tokens, lengths = _texts(vocabulary)
    tokens, lengths = tokens[:1], lengths[:1]
    tokens[0, :3] = torch.tensor([5, 6, 7])
    first, *_, last = _features(module, tokens, lengths)
    for changed, seen, what in ((0, LONGEST - 1, "behind it"), (LONGEST - 1, 0, "before it")):
        other = tokens.clone()
        other[0, changed] = 5 + (other[0, changed] - 4) % (vocabulary - 5)
        near, *_, far = _features(module, other, lengths)
        assert _gap(far[0, seen], last[0, seen]) > 0, f"a token is not seen by what stands {what}"
        assert _gap(near[0, seen], first[0, seen]) < TOLERANCE, f"layer 0 sees what stands {what}"
    swapped = tokens.clone()
    swapped[0, 0], swapped[0, 2] = tokens[0, 2], tokens[0, 0]
    order = _gap(_features(module, swapped, lengths)[-1][0, LONGEST - 1], last[0, LONGEST - 1])
    assert order > TOLERANCE / 10, "the order of the tokens makes no difference"


def _check_learning(module: nn.Module, vocabulary: int) -> None:
    names = [*SPECIALS, *(f"w{i}" for i in range(vocabulary - len(SPECIALS)))]
    masking = Masking(names, SPECIALS, rate=0.3)
    tokens, lengths = _texts(vocabulary)
    lengths = lengths.clamp(min=2)
    tokens[3, :2] = 6
    batch = {"tokens": tokens, "tokens_lengths": lengths, "segments": torch.zeros_like(tokens)}
    batch["follows"] = torch.tensor([0, 1, 0, 1])
    module.train()
    found = costs(module, batch, masking, torch.Generator().manual_seed(0))
    loss = found.nats.mean() + (0 if found.follows is None else found.follows.mean())
    assert bool(torch.isfinite(loss)), f"the objective is {float(loss)}"
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    grads = torch.autograd.grad(loss, [p for _, p in named], allow_unused=True)
    dead = [name for (name, _), grad in zip(named, grads, strict=True) if grad is None or not bool(grad.abs().sum())]
    dead = [name for name in dead if not name.endswith("segments.weight")]
    assert not dead, f"the objective does not reach {', '.join(dead[:3])}"


def _check_state(make: Callable[[], nn.Module], module: nn.Module, vocabulary: int) -> None:
    tokens, lengths = _texts(vocabulary)
    expected = _features(module, tokens, lengths)[-1]
    fresh = make()
    assert _gap(_features(fresh, tokens, lengths)[-1], expected) > 0, "two fresh encoders have the same features"
    fresh.load_state_dict(module.state_dict())
    assert torch.equal(_features(fresh, tokens, lengths)[-1], expected), "the state does not hold all there is"
    other = make()
    adopt(other, module)
    assert torch.equal(_features(other, tokens, lengths)[-1], expected), "the trunk's weights do not make the features"
