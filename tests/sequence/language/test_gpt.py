"""GPT: its memory, its masks, its start, and how it refuses."""

import math

import pytest
import torch
from torch import nn

from gradus.errors import GradusError
from gradus.sequence.language.gpt import GPT, gpt

KINDS = [
    {}, {"rotary": True}, {"attention": "local", "window": 3}, {"attention": "local", "window": 3, "rotary": True},
    {"attention": "linear"}, {"bias": True, "tie": False, "approximate": True},
]  # fmt: skip


def shaken(**settings: object) -> GPT:
    """Return a small model whose every weight says something."""
    torch.manual_seed(0)
    model = gpt(**{"vocabulary": 11, "context": 16, "layers": 2, "heads": 2, "width": 12, **settings}).double()
    assert isinstance(model, GPT)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) / 5)
    return model.eval()


def tokens(batch: int, time: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(11, (batch, time), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("settings", KINDS, ids=str)
@pytest.mark.parametrize("pieces", [(1,) * 16, (7, 1, 1, 5, 2), (16,)])
def test_cached_logits_are_the_uncached_ones(settings, pieces):
    model, text = shaken(**settings), tokens(3, 16)
    state = model.start(3, "cpu")
    found = []
    for part in text.split(pieces, 1):
        logits, state = model(part, state)
        found.append(logits)
    assert torch.allclose(torch.cat(found, 1), model(text)[0], atol=1e-12)
    with pytest.raises(GradusError, match="17 tokens are more than the context of 16"):
        model(text[:, :1], state)


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_prompts_of_different_lengths_are_read_as_each_alone(settings):
    model, text = shaken(**settings), tokens(4, 16)
    lengths = [5, 1, 9, 9]
    rows = [row[:length].tolist() for row, length in zip(text, lengths)]
    logits, state = model.read(rows)
    for step in range(4):
        for i, length in enumerate(lengths):
            alone = model(text[i : i + 1, : length + step])[0][0, -1]
            assert torch.allclose(logits[i], alone, atol=1e-12)
        following = torch.stack([row[length + step] for row, length in zip(text, lengths)])
        found, state = model(following[:, None], state)
        logits = found[:, -1]


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_float32_caches_agree_too(settings):
    model, text = shaken(**settings).float(), tokens(2, 16)
    state = model.start(2, "cpu")
    found = torch.cat([model(text[:, i : i + 1], state)[0] for i in range(16)], 1)
    assert torch.allclose(found, model(text)[0], atol=1e-5)


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_reordered_rows_go_on_as_those_they_copy(settings):
    model, text = shaken(**settings), tokens(3, 8)
    _, state = model.read([text[0, :4].tolist(), text[1, :2].tolist(), text[2, :3].tolist()])
    rows = torch.tensor([2, 2, 1, 0])
    found, _ = model(tokens(4, 2, seed=1), model.reorder(state, rows))
    for i, (row, length) in enumerate([(2, 3), (2, 3), (1, 2), (0, 4)]):
        alone = torch.cat([text[row : row + 1, :length], tokens(4, 2, seed=1)[i : i + 1]], 1)
        assert torch.allclose(found[i], model(alone)[0][0, -2:], atol=1e-12)


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_no_token_sees_what_comes_later_and_each_sees_what_came_before(settings):
    model = shaken(**settings)
    entered = model.embedding(tokens(1, 16)).detach().requires_grad_()
    model.embedding.forward = lambda _: entered  # type: ignore[method-assign]
    out = model(tokens(1, 16))[0][0, 9].square().sum()
    (gradient,) = torch.autograd.grad(out, entered)
    reach = gradient[0].abs().sum(-1) > 0
    first = 9 - 2 * 3 if settings.get("attention") == "local" else 0  # two layers, three tokens back each
    assert reach.tolist() == [first <= i <= 9 for i in range(16)]


def test_the_start_is_gpt_2s():
    torch.manual_seed(0)
    model = gpt(vocabulary=500, context=64, layers=6, heads=4, width=128, bias=True)
    spread = {name: float(p.detach().std()) for name, p in model.named_parameters() if p.ndim > 1}
    for name, std in spread.items():
        ends = name.endswith(("attention.out.weight", "linear2.weight"))
        assert math.isclose(std, 0.02 / math.sqrt(12) if ends else 0.02, rel_tol=0.05), name
    flat = {name: p for name, p in model.named_parameters() if p.ndim < 2}
    assert all((p == name.endswith("weight")).all() for name, p in flat.items())
    loss = nn.functional.cross_entropy(model(tokens(8, 64) * 45)[0].flatten(0, 1), (tokens(8, 64, 1) * 45).flatten())
    assert abs(float(loss.detach()) - math.log(500)) < 0.1


def test_weights_are_as_many_as_they_should_be():
    count = lambda **s: sum(p.numel() for p in gpt(**s).parameters())
    published = lambda v, t, n, d: v * d + t * d + n * (12 * d**2 + 13 * d) + 2 * d
    assert published(50257, 1024, 12, 768) == 124_439_808
    assert count(vocabulary=31, context=20, layers=3, heads=2, width=24, bias=True) == published(31, 20, 3, 24)
    assert count(vocabulary=65) == published(65, 64, 4, 128) - 4 * 11 * 128 - 128
    assert count(vocabulary=65, tie=False) - count(vocabulary=65) == 65 * 128
    assert count(vocabulary=65) - count(vocabulary=65, rotary=True) == 64 * 128


def test_bfloat16_trains_close_to_float32():
    torch.manual_seed(0)
    model, text = gpt(vocabulary=11, context=64, width=32), tokens(4, 64)
    losses, gradients = [], []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = nn.functional.cross_entropy(model(text)[0].float().flatten(0, 1), text.roll(-1, 1).flatten())
        losses.append(float(loss.detach()))
        found = torch.autograd.grad(loss, list(model.parameters()))
        gradients.append(torch.cat([g.flatten() for g in found]))
    assert abs(losses[0] - losses[1]) < 0.01
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"vocabulary": 0}, "vocabulary"), ({"context": 0}, "context"), ({"layers": 0}, "layers"),
     ({"heads": 5}, "heads do not divide"), ({"dropout": 1.5}, "dropout"), ({"attention": "sparse"}, "attention is"),
     ({"window": 4}, "attention=local"), ({"attention": "local", "window": -1}, "window"),
     ({"rotary": True, "attention": "linear"}, "rotary"), ({"rotary": True, "width": 12, "heads": 4}, "even width")],
)  # fmt: skip
def test_what_makes_no_gpt_is_refused(settings, sentence):
    with pytest.raises(GradusError, match=sentence):
        gpt(**{"vocabulary": 11, **settings})


def test_rows_that_cannot_be_read_are_refused():
    model = shaken()
    with pytest.raises(GradusError, match="one token"):
        model.read([[1], []])
    with pytest.raises(GradusError, match="more than the context"):
        model.read([[1] * 17])
