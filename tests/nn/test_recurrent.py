"""Recurrent layers: padding is invisible, carried state continues, and open gates keep gradients that tanh loses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradus.errors import GradusError
from gradus.nn.cells import CELLS, JordanCell
from gradus.nn.recurrent import Recurrent, State, detached, gradient_norms

KINDS = list(CELLS)


def parts(state: State) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


def make(kind: str, **options: object) -> Recurrent:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layer = Recurrent(kind, 3, 4, **options).double()
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def series(batch: int, time: int, features: int = 3) -> Tensor:
    return torch.randn(batch, time, features, dtype=torch.float64, generator=torch.Generator().manual_seed(batch))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [None, [7, 2, 0, 7, 5]])
def test_the_kernel_is_the_equations(kind: str, lengths: list[int] | None) -> None:
    """torch's kernels and the written-out loop agree in values and every gradient, also under dropout."""
    options = {"layers": 2, "bidirectional": True, "dropout": 0.5, "initial": "learned"}
    ends = None if lengths is None else torch.tensor(lengths)
    found = []
    for fused in (True, False):
        layer, x = make(kind, fused=fused, **options), series(5, 7).requires_grad_()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            y, state = layer(x, lengths=ends)
        loss = y.square().sum() + sum(part.sin().sum() for part in parts(state))
        found.append((y, *parts(state), *torch.autograd.grad(loss, [x, *layer.parameters()])))
    for fast, plain in zip(*found, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(KINDS), st.booleans(), st.integers(1, 2), st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_a_padded_sequence_is_the_sequence(kind: str, bidirectional: bool, layers: int, lengths: list[int]) -> None:
    """Outputs and last states of each sequence in a padded batch are those of the sequence by itself."""
    layer = make(kind, layers=layers, bidirectional=bidirectional, initial="learned")
    x = series(len(lengths), 6)
    y, state = layer(x, lengths=torch.tensor(lengths))
    assert y.shape == (len(lengths), 6, layer.features)
    for i, length in enumerate(lengths):
        alone, end = layer(x[i : i + 1, :length])
        torch.testing.assert_close(y[i, :length], alone[0])
        assert not y[i, length:].any()
        for whole, single in zip(parts(state), parts(end), strict=True):
            torch.testing.assert_close(whole[:, i], single[:, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_padding_gets_no_gradient(kind: str) -> None:
    x = series(3, 6).requires_grad_()
    lengths = torch.tensor([2, 6, 3])
    y, state = make(kind, bidirectional=True)(x, lengths=lengths)
    (gradient,) = torch.autograd.grad(y.sum() + sum(part.sum() for part in parts(state)), x)
    alive = torch.arange(6) < lengths[:, None]
    assert (gradient.abs().sum(-1) > 0).equal(alive)


@pytest.mark.parametrize("kind", KINDS)
def test_carried_state_continues(kind: str) -> None:
    """Two halves with the state carried over are the whole; detached, no gradient crosses."""
    layer, x = make(kind, layers=2), series(2, 9).requires_grad_()
    whole, end = layer(x)
    first, state = layer(x[:, :4])
    second, last = layer(x[:, 4:], detached(state))
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    for a, b in zip(parts(last), parts(end), strict=True):
        torch.testing.assert_close(a, b)
    (gradient,) = torch.autograd.grad(second.sum(), x)
    assert gradient[:, 4:].abs().min() > 0 or kind == "rnn_relu"
    assert not gradient[:, :4].any()


@pytest.mark.parametrize("kind", KINDS)
def test_causal_in_one_direction_and_complete_in_two(kind: str) -> None:
    for bidirectional in (False, True):
        x = series(1, 5).requires_grad_()
        y, _ = make(kind, bidirectional=bidirectional)(x)
        (gradient,) = torch.autograd.grad(y[:, 2].sum(), x)
        seen = (gradient.abs().sum((0, 2)) > 0).tolist()
        assert seen == [True] * 3 + [bidirectional] * 2


def test_jordans_cell() -> None:
    """By hand for two steps; with V = I it is Elman's; and teacher forcing with its own outputs changes nothing."""
    layer = Recurrent("jordan", 3, 4, outputs=2).double()
    cell = layer.cells[0]
    assert isinstance(cell, JordanCell)
    x = series(2, 6)

    def step(x: Tensor, y: Tensor) -> Tensor:
        hidden = (x @ cell.weight_input.T + y @ cell.weight_hidden.T + cell.bias_input + cell.bias_hidden).tanh()
        return hidden @ cell.weight_output.T + cell.bias_output

    y, state = layer(x)
    first = step(x[:, 0], torch.zeros(2, 2, dtype=torch.float64))
    torch.testing.assert_close(y[:, 0], first)
    torch.testing.assert_close(y[:, 1], step(x[:, 1], first))
    torch.testing.assert_close(state[0], y[:, -1])
    torch.testing.assert_close(cell.teach(x, y, (torch.zeros(2, 2, dtype=torch.float64),)), y)

    elman, jordan = make("rnn"), make("jordan")
    shared = elman.state_dict() | {
        "cells.0.weight_output": torch.eye(4, dtype=torch.float64),
        "cells.0.bias_output": torch.zeros(4, dtype=torch.float64),
    }
    jordan.load_state_dict(shared)
    torch.testing.assert_close(jordan(x)[0], elman(x)[0])


class TestInitialStates:
    def test_learned(self) -> None:
        layer, x = make("lstm", initial="learned"), series(3, 2)
        assert layer.start.shape == (2, 1, 4)
        h, c = (part.unsqueeze(1).expand(1, 3, 4) for part in layer.start)
        plain = make("lstm")
        plain.load_state_dict({name: value for name, value in layer.state_dict().items() if name != "start"})
        torch.testing.assert_close(layer(x)[0], plain(x, (h, c))[0])
        (gradient,) = torch.autograd.grad(layer(x)[0].sum(), layer.start)
        assert gradient.abs().min() > 0

    def test_sampled(self) -> None:
        """N(0, spread²) in training, which an empty sequence hands back unchanged; the mean in evaluation."""
        layer = Recurrent("gru", 3, 100, initial="sampled", spread=0.5)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            _, state = layer(torch.zeros(100, 0, 3))
            assert not torch.equal(state, layer(torch.zeros(100, 0, 3))[1])
        assert state.std() == pytest.approx(0.5, abs=0.01)
        assert state.mean() == pytest.approx(0, abs=0.02)
        assert not layer.eval()(torch.zeros(100, 0, 3))[1].any()


def test_dropout_lies_between_layers_only() -> None:
    x = series(2, 5)
    one = make("gru", dropout=0.5)
    assert torch.equal(one(x)[0], one(x)[0])
    two = make("gru", layers=2, dropout=0.5)
    with torch.random.fork_rng():
        assert not torch.equal(two(x)[0], two(x)[0])
        assert torch.equal(two(x)[1][0], two(x)[1][0])
    assert torch.equal(two.eval()(x)[0], make("gru", layers=2)(x)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_of_the_written_form(kind: str) -> None:
    layer = make(kind, fused=False)
    x = series(1, 3).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fused", [False, True])
def test_mixed_precision(kind: str, fused: bool) -> None:
    """Under autocast, from single or half-precision features, the outputs are near those in full precision."""
    layer = make(kind, fused=fused, layers=2, bidirectional=True, initial="learned").float()
    x, lengths = series(3, 5).float(), torch.tensor([5, 0, 3])
    expected = layer(x, lengths=lengths)[0].detach()
    for features in (x, x.bfloat16()):
        with torch.autocast("cpu", torch.bfloat16):
            y, _ = layer(features, lengths=lengths)
        assert (y.float() - expected).abs().max() < 0.05 * max(1.0, float(expected.abs().max()))
        gradients = torch.autograd.grad(y.float().sum(), list(layer.parameters()))
        assert all(gradient.isfinite().all() and gradient.dtype == torch.float32 for gradient in gradients)


def test_the_written_form_is_vectorised_by_vmap() -> None:
    layer = make("gru", fused=False)
    weights = {name: torch.stack([value, 2 * value]) for name, value in layer.named_parameters()}
    x = series(2, 4)

    def run(weights: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(layer, weights, (x,))[0]

    together = torch.func.vmap(run)(weights)
    for i in range(2):
        torch.testing.assert_close(together[i], run({name: value[i] for name, value in weights.items()}))


class TestGradientsThroughTime:
    """∂h₁₀₀/∂h₀: gates that stand open carry it, a contraction loses it."""

    def norms(self, kind: str, **biases: float) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            layer = Recurrent(kind, 3, 32).double()
        rows = {"gru": ("reset", "update", "new"), "lstm": ("input", "forget", "cell", "output")}.get(kind, ())
        with torch.no_grad():
            for row, name in enumerate(rows):
                layer.cells[0].bias_input[32 * row : 32 * (row + 1)] += biases.get(name, 0.0)
        return gradient_norms(layer, series(8, 100))

    def test_open_gates_keep_it(self) -> None:
        for norms in (self.norms("lstm", forget=12, input=-12), self.norms("gru", update=12)):
            assert norms.shape == (101,)
            assert 0.5 < norms[0] / norms[-2] < 2

    def test_tanh_loses_it_exponentially(self) -> None:
        norms = self.norms("rnn")
        assert norms[0] / norms[-2] < 1e-8
        halves = norms[0] / norms[50], norms[50] / norms[-1]
        assert max(halves) < 1e-4

    def test_it_is_the_gradient_of_the_whole(self) -> None:
        layer, x = make("lstm"), series(2, 5)
        start = tuple(torch.zeros(1, 2, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
        gradients = torch.autograd.grad(layer(x, start)[1][0].sum(), start)
        expected = sum(gradient.square().sum() for gradient in gradients).sqrt()
        torch.testing.assert_close(gradient_norms(layer, x)[0], expected)
        with pytest.raises(GradusError, match="one direction"):
            gradient_norms(make("rnn", bidirectional=True), x)


def test_fresh_weights() -> None:
    layer = Recurrent("lstm", 30, 20)
    cell = layer.cells[0]
    for block in cell.weight_hidden.detach().split(20):
        torch.testing.assert_close(block @ block.T, torch.eye(20), rtol=0, atol=1e-5)
    bias = (cell.bias_input + cell.bias_hidden).detach().view(4, 20)
    assert torch.equal(bias, torch.tensor([0.0, 1.0, 0.0, 0.0])[:, None].expand(4, 20))
    assert torch.equal(Recurrent("rnn_relu", 3, 5).cells[0].weight_hidden, torch.eye(5))


MISTAKES = {
    "did you mean 'lstm'": lambda: Recurrent("lstn", 3, 4),
    "at least one": lambda: Recurrent("gru", 3, 0),
    "use a jordan layer": lambda: Recurrent("gru", 3, 4, outputs=2),
    "dropout=1": lambda: Recurrent("gru", 3, 4, dropout=1.0),
    "takes 3 features": lambda: make("gru")(series(2, 4, 5)),
    r"a pair \(h, c\) of \(1, 2, 4\)": lambda: make("lstm")(series(2, 4), torch.zeros(1, 2, 4)),
    r"\(1, 2, 4\) for this batch, not \(1, 3, 4\)": lambda: make("gru")(series(2, 4), torch.zeros(1, 3, 4)),
    "a length of 9 is outside the 4 steps": lambda: make("gru")(series(2, 4), lengths=torch.tensor([9, 1])),
    "a length of -1": lambda: make("gru")(series(2, 4), lengths=torch.tensor([4, -1])),
}


@pytest.mark.parametrize("sentence", MISTAKES)
def test_mistakes(sentence: str) -> None:
    with pytest.raises(GradusError, match=sentence):
        MISTAKES[sentence]()


def test_repr() -> None:
    layer = Recurrent("gru", 3, 4, layers=2, bidirectional=True, dropout=0.1, initial="learned")
    assert "'gru', 3, 4, layers=2, bidirectional=True, dropout=0.1, initial='learned'" in repr(layer)
