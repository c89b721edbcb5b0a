"""The contract of a classifier of texts, as checks that need no test framework: an AssertionError says what broke.

    s = from_embedded(embed(tokens, lengths), lengths)

A classifier passes when it gives one finite score a class for texts of any length, when padding and what stands in it
changes nothing, when it is a function in evaluation and differentiable in what it reads, when all that it knows is in
its state, and when it has a trunk, and a head that ends in the classes.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["CLASSES", "VOCABULARY", "check_text_classifier"]

Make = Callable[[], Any]
VOCABULARY, CLASSES = 30, 3
LENGTHS = torch.tensor([7, 1, 4, 7])
TOLERANCE = 1e-9


def check_text_classifier(
    make: Callable[[], nn.Module], *, name: str, documented: Callable[..., Any] | None = None
) -> None:
    """Run the whole contract on a classifier.

    Args:
        make: gives a fresh one of 30 tokens, padding being 0, and 3 classes; called several times.
        name: what the sentences call it.
        documented: the public callable whose docstring is checked; none by default.

    Raises:
        AssertionError: for the first clause that fails.
    """
    if documented is not None:
        _docstring_is_complete(documented, name)
    with torch.random.fork_rng():
        for check in CHECKS:
            torch.manual_seed(0)
            check(make, name)


def _made(make: Make) -> Any:
    """Return a model in evaluation, in float64, no weight of which is zero, so that slips show."""
    torch.manual_seed(0)
    model = make().double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def _texts() -> Tensor:
    """Return four padded texts of the lengths above."""
    shape = (len(LENGTHS), int(LENGTHS.max()))
    tokens = torch.randint(5, VOCABULARY, shape, generator=torch.Generator().manual_seed(1))
    return tokens.masked_fill(torch.arange(tokens.shape[1]) >= LENGTHS[:, None], 0)


def _gives_scores(make: Make, name: str) -> None:
    model = make().eval()
    for batch in (1, 4):
        scores = model(_texts()[:batch], LENGTHS[:batch])
        assert scores.shape == (batch, CLASSES), f"{name}: scores of {batch} texts are {tuple(scores.shape)}"
        assert scores.dtype == torch.float32, f"{name}: float32 weights give {scores.dtype}"
        assert scores.isfinite().all(), f"{name}: scores are not finite"
    whole = model(_texts()[:1], LENGTHS[:1])
    assert torch.equal(model(_texts()[:1]), whole), f"{name}: without lengths texts are not as long as the batch"


def _is_a_function_in_evaluation(make: Make, name: str) -> None:
    model, tokens = _made(make), _texts()
    kept, before = tokens.clone(), {key: value.clone() for key, value in model.state_dict().items()}
    first, second = model(tokens, LENGTHS), model(tokens, LENGTHS)
    assert torch.equal(tokens, kept), f"{name}: the tokens are changed in place"
    assert torch.equal(first, second), f"{name}: the same texts give other scores the second time"
    changed = [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]
    assert not changed, f"{name}: {changed[:1]} changes in evaluation"


def _padding_is_not_read(make: Make, name: str) -> None:
    model, tokens = _made(make), _texts()
    together = model(tokens, LENGTHS)
    assert together.std(0).max() > TOLERANCE, f"{name}: the scores do not depend on the text"
    alone = torch.cat([model(row[None, :length], LENGTHS[i : i + 1]) for i, (row, length) in enumerate(
        zip(tokens, LENGTHS.tolist(), strict=True))])  # fmt: skip
    assert _near(together, alone), f"{name}: a text's scores depend on the batch around it"
    wider = torch.cat([tokens, tokens.new_zeros(len(tokens), 3)], 1)
    assert _near(model(wider, LENGTHS), together), f"{name}: more padding gives other scores"
    filled = tokens.masked_fill(torch.arange(tokens.shape[1]) >= LENGTHS[:, None], 9)
    assert _near(model(filled, LENGTHS), together), f"{name}: what stands in the padding is read"


def _parts_make_the_whole(make: Make, name: str) -> None:
    model, tokens = _made(make), _texts()
    whole = model(tokens, LENGTHS)
    embedded = model.embed(tokens, LENGTHS).detach().requires_grad_()
    assert embedded.ndim == 3, f"{name}: what is embedded is {tuple(embedded.shape)}, not (batch, time, width)"
    assert embedded.shape[:2] == tokens.shape, f"{name}: what is embedded is {tuple(embedded.shape)}, not a row a token"
    scores = model.from_embedded(embedded, LENGTHS)
    assert _near(scores, whole), f"{name}: forward is not from_embedded(embed(tokens))"
    gradient = torch.autograd.grad(scores.sum(), embedded, allow_unused=True)[0] if scores.requires_grad else None
    assert gradient is not None, f"{name}: the scores are not differentiable in what is read"
    there = torch.arange(tokens.shape[1]) < LENGTHS[:, None]
    assert gradient[there].abs().sum() > 0, f"{name}: the scores do not depend on what is read"
    assert not gradient[~there].abs().sum() > 0, f"{name}: the scores depend on what is read in the padding"


def _every_parameter_learns(make: Make, name: str) -> None:
    model = _made(make).train()
    model(_texts(), LENGTHS).square().sum().backward()
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name}: no gradient reaches {path}"
        assert parameter.grad.isfinite().all(), f"{name}: the gradient of {path} is not finite"


def _has_trunk_and_head(make: Make, name: str) -> None:
    model = make()
    for part in ("trunk", "head"):
        assert isinstance(getattr(model, part, None), nn.Module), f"{name}: .{part} is no module"
    weights = [tuple(p.shape) for p in model.head.parameters()]
    assert any(CLASSES in shape for shape in weights), f"{name}: the head has no weight for each class"


def _the_state_is_all(make: Make, name: str) -> None:
    model, tokens = _made(make), _texts()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    torch.manual_seed(7)
    other = make().double().eval()
    other.load_state_dict(state)
    same = torch.equal(other(tokens, LENGTHS), model(tokens, LENGTHS))
    assert same, f"{name}: another one with the same state gives other scores"


def _is_built_from_the_seed(make: Make, name: str) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(make().state_dict())
    same = all(torch.equal(a, b) for a, b in zip(*(state.values() for state in states), strict=True))
    assert same, f"{name}: the same seed gives other initial weights"


def _near(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=TOLERANCE)


def _docstring_is_complete(documented: Callable[..., Any], name: str) -> None:
    text = inspect.getdoc(documented) or ""
    assert text.split("\n")[0].endswith("."), f"{name}: the docstring does not begin with a sentence"
    for parameter in inspect.signature(documented).parameters:
        assert f"\n    {parameter}: " in text, f"{name}: the docstring does not tell of {parameter!r}"


CHECKS = (
    _gives_scores,
    _is_a_function_in_evaluation,
    _padding_is_not_read,
    _parts_make_the_whole,
    _every_parameter_learns,
    _has_trunk_and_head,
    _the_state_is_all,
    _is_built_from_the_seed,
)
