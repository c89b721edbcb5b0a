"""Generation against passes over all that was there, written out."""

import pytest
import torch
from torch import nn

from gradus.errors import GradusError
from gradus.sequence.language.decoding import Decoding
from gradus.sequence.language.generation import OVER, generate
from gradus.sequence.language.gpt import GPT, gpt

GREEDY = Decoding(temperature=0.0)


@pytest.fixture(scope="module", params=["full", "local", "linear"])
def model(request: pytest.FixtureRequest) -> GPT:
    """A small model whose every weight says something."""
    torch.manual_seed(2)
    found = gpt(vocabulary=13, context=16, layers=2, heads=2, width=16, attention=request.param).double()
    assert isinstance(found, GPT)
    with torch.no_grad():
        for p in found.parameters():
            p.add_(torch.randn_like(p) / 4)
    return found.eval()


class Rotating(nn.Module):
    """A model of any context that cannot read ahead: the next token is the sum of all so far, plus one, modulo 7."""

    context = None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("here", torch.zeros(1))

    def start(self, batch, device):
        return torch.zeros(batch, dtype=torch.long, device=device)

    def forward(self, tokens, state=None):
        sums = tokens.cumsum(1) + (0 if state is None else state[:, None])
        return 5.0 * nn.functional.one_hot((sums + 1) % 7, 7), sums[:, -1]

    def reorder(self, state, rows):
        return state[rows]


def by_hand(model: GPT, prompt: list[int], count: int) -> list[int]:
    """Return greedy tokens, every one by a pass over the window that the rule allows."""
    window, found = prompt[-model.context :], []
    for _ in range(count):
        found.append(int(model(torch.tensor([window]))[0][0, -1].argmax()))
        window = [*window, found[-1]]
        if len(window) > model.context:
            window = window[-(model.context // 2) :]
    return found


def written(model: nn.Module, prompts: list[list[int]], count: int, **settings: object) -> list[list[int]]:
    steps = list(generate(model, prompts, max_new_tokens=count, **{"decoding": GREEDY, **settings}))
    return torch.stack(steps, 1).tolist()


def test_beyond_the_context_the_last_half_is_read_anew(model):
    for prompt in ([3], list(range(13)), [i % 13 for i in range(16)], [i % 13 for i in range(40)]):
        assert written(model, [prompt], 45) == [by_hand(model, prompt, 45)]


def test_rows_of_different_lengths_do_not_know_of_each_other(model):
    prompts = [[1, 2, 3], [4], [i % 13 for i in range(16)], [5, 6, 7, 8, 9], [i % 13 for i in range(30)]]
    assert written(model, prompts, 40) == [by_hand(model, prompt, 40) for prompt in prompts]


def test_a_model_that_reads_no_rows_is_led_step_by_step():
    prompts = [[1, 2], [6], [0, 0], [3, 1, 1]]
    expected = []
    for prompt in prompts:
        line = list(prompt)
        while len(line) < len(prompt) + 6:
            line.append((sum(line) + 1) % 7)
        expected.append(line[len(prompt) :])
    assert written(Rotating(), prompts, 6) == expected


def test_rows_end_behind_a_stop_token_and_the_others_go_on(model):
    prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [10]]
    whole = [by_hand(model, prompt, 30) for prompt in prompts]
    stops = {whole[0][3], whole[2][12]}
    expected = []
    for row in whole:
        end = next((i for i, token in enumerate(row) if token in stops), len(row))
        expected.append([*row[: end + 1], *[OVER] * (30 - end - 1)][:30])
    found = written(model, prompts, 30, stop_ids=stops)
    longest = len(found[0])
    assert [row + [OVER] * (30 - longest) for row in found] == expected
    assert longest == max(sum(token != OVER for token in row) for row in expected)  # nothing is done for rows all over


def test_draws_depend_on_the_seed_alone(model):
    draw = lambda seed: written(
        model, [[1], [2, 3]], 20, decoding=Decoding(temperature=1.5), generator=torch.Generator().manual_seed(seed)
    )
    assert draw(0) == draw(0) != draw(1)


def test_draws_follow_the_model():
    logits = torch.tensor([0.1, 0.2, 0.7]).log()

    class Constant(Rotating):
        def forward(self, tokens, state=None):
            return logits.expand(*tokens.shape, 3), tokens[:, -1]

    drawn = written(Constant(), [[0]] * 2000, 3, decoding=Decoding(), generator=torch.Generator().manual_seed(0))
    shares = torch.tensor(drawn).flatten().bincount(minlength=3) / 6000
    assert (shares - logits.exp()).abs().max() < 0.03


def test_the_penalty_knows_prompt_and_completion():
    constant = Rotating()
    constant.forward = lambda tokens, state=None: (torch.arange(5.0).expand(*tokens.shape, 5), state)  # type: ignore[method-assign]
    decoding = Decoding(temperature=0.0, repetition_penalty=1e6)
    # 4 was there; then the largest that is left, and when none is, the largest again.
    assert written(constant, [[4]], 4, decoding=decoding) == [[3, 2, 1, 4]]


def test_tokens_stream_one_step_at_a_time(model):
    calls = []
    hook = model.register_forward_pre_hook(lambda *_: calls.append(1))
    steps = generate(model, [[1, 2]], max_new_tokens=10, decoding=GREEDY)
    assert not calls
    for seen in range(5):
        next(steps)
        assert len(calls) == seen + 1
    hook.remove()
    assert torch.zeros(1).requires_grad_().mul(2).requires_grad  # what the caller does in between records gradients


@pytest.mark.parametrize(
    ("prompts", "count", "sentence"),
    [([[1], []], 3, "one token"), ([], 3, "one token"), ([[1]], 0, "max_new_tokens")],
)
def test_what_cannot_be_gone_on_with_is_refused_at_once(model, prompts, count, sentence):
    with pytest.raises(GradusError, match=sentence):
        generate(model, prompts, max_new_tokens=count)
