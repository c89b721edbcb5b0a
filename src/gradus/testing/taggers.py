"""The contract of taggers: networks that give scores of the tags at every token.

    tagger(tokens, lengths) is as long as its input; padding changes nothing; a sentence does not see its neighbours

`check_tagger` needs no test framework; it raises an AssertionError that says what was broken.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["check_tagger"]

TOKENS = 12
TOLERANCE = 1e-5


def check_tagger(make: Callable[[], nn.Module]) -> None:
    """Assert the contract of a tagger.

    In evaluation mode it gives finite scores of the same number of tags at every token; what stands in the padding, and
    the other sentences of a batch, change no sentence's scores; asked twice it answers the same; every trainable
    parameter that takes part gets a gradient; it learns to tag tokens by what they are; its state goes into a new one.

    Args:
        make: gives a fresh network; tokens 2 to 11 must be among its vocabulary, and three tags among its classes.

    Raises:
        AssertionError: naming what was broken.
    """
    network = make().eval()
    generator = torch.Generator().manual_seed(7)
    tokens = torch.randint(2, TOKENS, (4, 9), generator=generator)
    lengths = torch.tensor([9, 5, 7, 1])
    with torch.no_grad():
        scores = network(tokens, lengths)
        _check_shape(scores, tokens)
        assert torch.equal(network(tokens, lengths), scores), "asked twice it answers differently"
        inside = torch.arange(9) < lengths[:, None]
        other = torch.where(inside, tokens, 1)
        assert _near(network(other, lengths)[inside], scores[inside]), "what stands in the padding changes scores"
        for row, length in enumerate(lengths.tolist()):
            alone = network(tokens[row : row + 1, :length], lengths[row : row + 1])
            assert _near(alone[0], scores[row, :length]), "a sentence alone has other scores than in a batch"
        assert not _near(network(tokens.flip(0), lengths.flip(0)), scores), "the scores do not depend on the tokens"
    _check_gradients(make, tokens, lengths)
    _check_learning(make)
    fresh = make().eval()
    fresh.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(fresh(tokens, lengths), scores), "the state does not go into a new network"


def _check_shape(scores: Tensor, tokens: Tensor) -> None:
    assert scores.dim() == 3, f"the scores have shape {tuple(scores.shape)}, not (sentences, tokens, tags)"
    assert scores.shape[:2] == tokens.shape, (
        f"the scores have shape {tuple(scores.shape)}, not (sentences, tokens, tags)"
    )
    assert scores.shape[2] >= 3, "there are fewer than three tags"
    assert bool(scores.isfinite().all()), "a score is not finite"


def _near(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE)


def _check_gradients(make: Callable[[], nn.Module], tokens: Tensor, lengths: Tensor) -> None:
    network = make().eval()
    inside = torch.arange(tokens.shape[1]) < lengths[:, None]
    target = tokens % 3
    torch.nn.functional.cross_entropy(network(tokens, lengths)[inside], target[inside]).backward()
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    # A key's bias moves all scores of an attention alike, and a second segment is not there.
    without = [name for name, p in trained.items() if p.grad is None]
    assert not without, f"no gradient reaches {', '.join(without)}"


def _check_learning(make: Callable[[], nn.Module]) -> None:
    network = make().train()
    generator = torch.Generator().manual_seed(8)
    tokens = torch.randint(2, TOKENS, (64, 6), generator=generator)
    target, lengths = tokens % 3, torch.full((64,), 6)
    params = [p for p in network.parameters() if p.requires_grad]
    squares = [torch.zeros_like(p) for p in params]
    before = after = 0.0
    for step in range(60):
        loss = torch.nn.functional.cross_entropy(network(tokens, lengths).flatten(0, 1), target.flatten())
        grads = torch.autograd.grad(loss, params, allow_unused=True)
        with torch.no_grad():
            for p, square, grad in zip(params, squares, grads, strict=True):
                if grad is not None:
                    square.mul_(0.9).addcmul_(grad, grad, value=0.1)
                    p.sub_(0.01 * grad / (square.sqrt() + 1e-8))
        before, after = (float(loss), after) if step == 0 else (before, float(loss))
    assert after < 0.7 * before, f"it does not learn the tag of a token: the loss went from {before:.3f} to {after:.3f}"
