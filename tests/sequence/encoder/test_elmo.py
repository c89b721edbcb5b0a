"""ELMo: the mix has known answers, neither reader sees what it is to predict, letters make words."""

import math

import pytest
import torch
from torch import Tensor

from gradus.errors import GradusError
from gradus.nn.recurrent import Recurrent
from gradus.sequence.encoder.elmo import Elmo, ElmoPretraining, ScalarMix, Spelled, turned
from gradus.sequence.encoder.elmo_models import elmo_classifier
from gradus.sequence.encoder.models import adopt
from gradus.sequence.encoder.objectives import costs


def test_an_untouched_mix_is_the_mean() -> None:
    states = [torch.full((1, 2, 3), value) for value in (1.0, 2.0, 6.0)]
    assert torch.allclose(ScalarMix(3)(states), torch.full((1, 2, 3), 3.0))


def test_the_mix_weighs_by_softmax_and_scales() -> None:
    mix = ScalarMix(3)
    with torch.no_grad():
        mix.scores.copy_(torch.tensor([0.0, math.log(2), math.log(5)]))
        mix.scale.fill_(4.0)
    states = [torch.full((1, 1, 2), value) for value in (1.0, 2.0, 3.0)]
    assert torch.allclose(mix(states), torch.full((1, 1, 2), 4 * (1 * 1 + 2 * 2 + 5 * 3) / 8))
    with torch.no_grad():
        mix.scores.copy_(torch.tensor([0.0, 80.0, 0.0]))
        mix.scale.fill_(1.0)
    assert torch.allclose(mix(states), states[1])


def test_the_gradients_of_the_mix_are_those_of_its_formula() -> None:
    mix = ScalarMix(3).double()
    with torch.no_grad():
        mix.scores.copy_(torch.tensor([0.3, -0.2, 1.0]))
        mix.scale.fill_(1.7)
    states = list(torch.randn(3, 2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    mix(states).sum().backward()
    s = mix.scores.detach().softmax(0)
    sums = torch.stack([state.sum() for state in states])
    assert mix.scale.grad is not None
    assert mix.scores.grad is not None
    assert torch.allclose(mix.scale.grad, (s * sums).sum())
    assert torch.allclose(mix.scores.grad, 1.7 * s * (sums - (s * sums).sum()))
    with pytest.raises(GradusError, match="2 layers do not mix by 3"):
        mix(states[:2])


def test_turning_twice_changes_nothing_and_padding_stays() -> None:
    x, lengths = torch.arange(15).view(3, 5), torch.tensor([5, 3, 0])
    back = turned(x, lengths)
    assert back.tolist() == [[4, 3, 2, 1, 0], [7, 6, 5, 8, 9], [10, 11, 12, 13, 14]]
    assert torch.equal(turned(back, lengths), x)
    assert torch.equal(turned(x, None), x.flip(1))


def small(**settings: int) -> Elmo:
    torch.manual_seed(0)
    return Elmo(30, **{"layers": 2, "width": 12, **settings}).eval()


def seen_from(state: Tensor, embedded: Tensor) -> Tensor:
    """Return at which places a change of the words would change a feature."""
    (grad,) = torch.autograd.grad(state.sum(), embedded, retain_graph=True)
    return grad.abs().sum(-1) > 0


@pytest.mark.parametrize("layer", [1, 2])
def test_one_reader_sees_the_past_only_and_the_other_the_future_only(layer: int) -> None:
    model, lengths = small(), torch.tensor([9, 6])
    embedded = model.embed(torch.randint(30, (2, 9))).detach().requires_grad_()
    ahead, back = model.encode(embedded, lengths)[layer].chunk(2, -1)
    for row, length in enumerate(lengths.tolist()):
        for t in range(length):
            past = [[r == row and i <= t for i in range(9)] for r in range(2)]
            future = [[r == row and t <= i < length for i in range(9)] for r in range(2)]
            assert seen_from(ahead[row, t], embedded).tolist() == past
            assert seen_from(back[row, t], embedded).tolist() == future


def test_no_guess_sees_the_word_it_is_about() -> None:
    """The guess at a word ahead does not hang on it or on what is behind it; the guess back is the mirror image."""
    model = ElmoPretraining(small()).eval()
    tokens, lengths = torch.randint(5, 30, (1, 8)), torch.tensor([8])
    places = torch.arange(7)
    said = model(tokens, lengths, places)
    for word in range(8):
        other = tokens.clone()
        other[0, word] = 5 + (tokens[0, word] - 4) % 25
        differs = (model(other, lengths, places) - said).abs().amax(-1) > 0
        assert differs[0].tolist() == [word <= place for place in range(7)]  # guesses at place + 1 … 7
        assert differs[1].tolist() == [word >= place + 1 for place in range(7)]  # guesses at place 0 … 6


def test_the_objective_is_the_mean_of_both_directions() -> None:
    model = ElmoPretraining(small()).eval()
    tokens, lengths = torch.randint(5, 30, (2, 6)), torch.tensor([6, 4])
    found = costs(model, {"tokens": tokens, "tokens_lengths": lengths}, None, torch.Generator())
    ahead, back = model.trunk(tokens, lengths)[-1].chunk(2, -1)
    wanted = [
        -model.decoder(side[row, at]).log_softmax(-1)[tokens[row, to]]
        for side, step in ((ahead, 1), (back, -1))
        for row, length in enumerate(lengths.tolist())
        for at in range(length)
        if 0 <= (to := at + step) < length
    ]
    assert len(found.nats) == len(wanted) == 2 * (5 + 3)
    assert torch.allclose(found.nats.sort().values, torch.stack(wanted).sort().values, atol=1e-6)


def test_the_first_layer_is_the_lstm_of_nn() -> None:
    model = small()
    tokens = torch.randint(30, (2, 7))
    first = model(tokens)[1].chunk(2, -1)
    layer = model.ahead[0]
    assert isinstance(layer, Recurrent)
    assert torch.equal(first[0], layer(model.words(tokens))[0])
    assert torch.equal(first[1].flip(1), model.back[0](model.words(tokens).flip(1))[0])


def test_both_readers_share_words_and_softmax_and_nothing_else() -> None:
    model = ElmoPretraining(small())
    tied = [name for name, _ in model.named_parameters() if ".ahead." not in name and ".back." not in name]
    assert tied == ["trunk.words.weight", "decoder.weight", "decoder.bias"]


def test_words_are_what_their_letters_are() -> None:
    torch.manual_seed(0)
    spelled = Spelled(4, 10, longest=5)
    spelled.spell(["cat", "act", "cat", "caterpillar"])
    vectors = spelled(torch.tensor([[0, 1, 2, 3]]))[0]
    assert torch.allclose(vectors[0], vectors[2])
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-4)
    assert not torch.allclose(vectors[0], vectors[3], atol=1e-4)
    spelled.spell(["caterers", "act", "cat", "caterpillar"])
    vectors = spelled(torch.tensor([[0, 3]]))[0]
    assert torch.allclose(vectors[0], vectors[1])  # five letters are read
    with pytest.raises(GradusError, match="3 spellings"):
        spelled.spell(["a", "b", "c"])


def test_spellings_travel_with_the_weights() -> None:
    one, other = small(characters=True), small(characters=True)
    one.words.spell([f"word{i}" for i in range(30)])
    other.load_state_dict(one.state_dict())
    tokens = torch.randint(30, (2, 5))
    assert torch.equal(one(tokens)[-1], other(tokens)[-1])


def test_a_classifier_learns_which_layer_matters() -> None:
    torch.manual_seed(1)
    model = elmo_classifier(vocabulary=30, classes=2, layers=1, width=8, dropout=0.0)
    source = ElmoPretraining(Elmo(30, layers=1, width=8))
    adopt(model, source)
    tokens, lengths = torch.randint(30, (4, 6)), torch.tensor([6, 5, 2, 1])
    loss = torch.nn.functional.cross_entropy(model(tokens, lengths), torch.tensor([0, 1, 0, 1]))
    loss.backward()
    assert model.mix.scores.grad is not None
    assert bool(model.mix.scores.grad.abs().sum() > 0)


@pytest.mark.parametrize("reader", [0, 6])
def test_a_classifier_does_not_see_padding(reader: int) -> None:
    torch.manual_seed(2)
    model = elmo_classifier(vocabulary=30, classes=2, width=8, reader=reader).eval()
    tokens, lengths = torch.randint(30, (3, 7)), torch.tensor([7, 3, 0])
    said = model(tokens, lengths)
    for row, length in enumerate(lengths.tolist()[:2]):
        alone = model(tokens[row : row + 1, :length], torch.tensor([length]))
        assert torch.allclose(alone[0], said[row], atol=1e-6)
    assert bool(torch.isfinite(said).all())
    assert torch.allclose(model(tokens), model(tokens, torch.tensor([7, 7, 7])), atol=1e-6)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(GradusError, match="even width"):
        small(width=7)
