"""The draws against their laws, the bands against pairs one by one, the gradients against the losses."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.data.ragged import Ragged
from gradus.errors import GradusError
from gradus.sequence.embedding.bands import lay_out
from gradus.sequence.embedding.continuous_bag import cbow
from gradus.sequence.embedding.cooccurrence import Cooccurrences, cooccurrences
from gradus.sequence.embedding.full_softmax import skipgram
from gradus.sequence.embedding.global_vectors import glove
from gradus.sequence.embedding.sampling import Noise, keep_chances, kept, reduced_windows
from gradus.sequence.embedding.skip_gram import sgns
from gradus.sequence.embedding.stretches import Stretches
from gradus.sequence.embedding.subwords import buckets_of, fasttext, ngrams
from gradus.sequence.embedding.tables import AdaGrad, Gradient
from gradus.sequence.embedding.vocabulary import Vocabulary, is_word, numbered


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def chi_square(counts, chances):
    """Return Pearson's statistic and the value it exceeds once in ten thousand (Wilson and Hilferty)."""
    expected = chances * counts.sum()
    k = len(counts) - 1
    bound = k * (1 - 2 / (9 * k) + 3.719 * math.sqrt(2 / (9 * k))) ** 3
    return float(((counts - expected) ** 2 / expected).sum()), bound


@pytest.mark.parametrize("power", [0.0, 0.75, 1.0])
def test_noise_has_the_law_of_counts_to_a_power(power):
    counts = torch.tensor([400, 90, 60, 33, 20, 8, 5, 1])
    drawn = torch.bincount(Noise(counts, power)(200_000, generator=seeded()), minlength=8).double()
    chances = counts.double() ** power
    found, bound = chi_square(drawn, chances / chances.sum())
    assert found < bound


def test_noise_of_another_power_would_be_noticed():
    counts = torch.tensor([400, 90, 60, 33, 20, 8, 5, 1])
    drawn = torch.bincount(Noise(counts, 0.75)(200_000, generator=seeded()), minlength=8).double()
    chances = counts.double() ** 0.8
    found, bound = chi_square(drawn, chances / chances.sum())
    assert found > 10 * bound


def test_windows_are_uniform():
    drawn = reduced_windows(60_000, 5, seeded())
    found, bound = chi_square(torch.bincount(drawn, minlength=6)[1:].double(), torch.full((5,), 0.2).double())
    assert drawn.min() == 1
    assert drawn.max() == 5
    assert found < bound


def test_occurrences_are_kept_by_their_chance():
    counts = torch.tensor([50_000, 5_000, 500, 50])
    chances = keep_chances(counts, 1e-3)
    share = 50_000 / 55_550
    assert chances[0] == pytest.approx(math.sqrt(1e-3 / share) + 1e-3 / share)
    assert chances[3] == 1
    words = torch.arange(4).repeat_interleave(100_000)
    found = kept(words, chances, seeded()).view(4, -1).double().mean(1)
    spread = (chances * (1 - chances) / 100_000).sqrt()
    assert ((found - chances).abs() <= 4 * spread).all()
    assert (keep_chances(counts, 0) == 1).all()


def pairs_one_by_one(words, documents, windows):
    n = len(words)
    return [
        (i, j)
        for i in range(n)
        for j in range(n)
        if i != j and abs(i - j) <= windows[i] and documents[i] == documents[j]
    ]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 70), st.integers(1, 6), st.integers(0, 10_000))
def test_bands_hold_every_pair_once(n, window, seed):
    generator = seeded(seed)
    words = torch.randint(0, 9, (n,), generator=generator)
    documents = torch.randint(0, 2, (n,), generator=generator).cumsum(0)
    windows = reduced_windows(n, window, generator)
    bands = lay_out(words, documents, windows, window, size=8)
    found = sorted((int(bands.centres[b, s]), int(bands.contexts[b, c])) for b, s, c in bands.near.nonzero().tolist())
    true = pairs_one_by_one(words.tolist(), documents.tolist(), windows.tolist())
    assert found == sorted((int(words[i]), int(words[j])) for i, j in true)
    assert float(bands.pairs.sum()) == len(true)


WORDS = torch.tensor([0, 3, 1, 0, 5, 2, 4, 1, 1, 0, 6, 7, 2, 3, 8, 9, 10, 11, 3, 4])
DOCUMENTS = torch.tensor([0] * 12 + [1] * 8)
WINDOWS = torch.tensor([1, 2, 3, 2] * 5)
NOISE = torch.tensor([[0, 5, 2, 2, 9, 1], [7, 7, 3, 0, 11, 4]])


def doubled(model, seed=1):
    model.double()
    for table in model.parameters():
        table.data.copy_(torch.randn(table.shape, generator=seeded(seed), dtype=torch.float64))
    return model


def batch():
    bands = lay_out(WORDS, DOCUMENTS, WINDOWS, 3, NOISE)
    return bands._replace(near=bands.near.double())


def by_hand(model, batch):
    dense = {id(table): torch.zeros_like(table.data) for table in model.parameters()}
    for table, rows, values, _ in model.gradients(batch):
        dense[id(table)] += values if rows is None else torch.zeros_like(table.data).index_add_(0, rows, values)
    return [dense[id(table)] for table in model.parameters()]


def agree(model, batch, loss):
    """Assert that the model's loss is this one, and that its gradients are those of this one."""
    assert float(model.objective(batch).detach()) == pytest.approx(float(loss.detach()), rel=1e-12)
    derived = torch.autograd.grad(loss, list(model.parameters()))
    for found, true in zip(by_hand(model, batch), derived, strict=True):
        assert (found - true).abs().max() <= 1e-6 * max(1.0, float(true.abs().max()))


def skip_gram_pairs(model, negative, inputs):
    """The paper's sum over pairs, the shared noise weighted to `negative` words a pair."""
    loss = torch.zeros((), dtype=torch.float64)
    for i, j in pairs_one_by_one(WORDS.tolist(), DOCUMENTS.tolist(), WINDOWS.tolist()):
        h, noise = inputs[WORDS[i]], NOISE[i // 16]
        loss = loss - F.logsigmoid(h @ model.outputs[WORDS[j]])
        loss = loss - negative / len(noise) * F.logsigmoid(-(model.outputs[noise] @ h)).sum()
    return loss


def test_skip_gram_is_the_sum_over_pairs(vocabulary):
    model = doubled(sgns(vocabulary, vector_size=5, negative=3, generator=seeded()))
    agree(model, batch(), skip_gram_pairs(model, 3, model.inputs.rows))


def test_subwords_are_skip_gram_over_means_of_parts(vocabulary):
    model = doubled(fasttext(vocabulary, vector_size=5, negative=3, bucket=40, generator=seeded()))
    parts = model.inputs.parts
    means = torch.stack([model.inputs.rows[parts.row(i)].mean(0) for i in range(len(parts))])
    agree(model, batch(), skip_gram_pairs(model, 3, means))
    rates = model.gradients(batch())[0].rate
    assert set(rates.tolist()) == {float(parts.lengths[w]) for w in set(WORDS.tolist())}


def test_full_softmax_is_the_sum_over_pairs(vocabulary):
    model = doubled(skipgram(vocabulary, vector_size=5, generator=seeded()))
    logs = (model.inputs.rows @ model.outputs.T).log_softmax(1)
    pairs = pairs_one_by_one(WORDS.tolist(), DOCUMENTS.tolist(), WINDOWS.tolist())
    agree(model, batch(), -sum(logs[WORDS[i], WORDS[j]] for i, j in pairs))


def test_continuous_bag_predicts_each_place_from_the_mean_around_it(vocabulary):
    model = doubled(cbow(vocabulary, vector_size=5, negative=3, generator=seeded()))
    loss = torch.zeros((), dtype=torch.float64)
    pairs = pairs_one_by_one(WORDS.tolist(), DOCUMENTS.tolist(), WINDOWS.tolist())
    for i in range(len(WORDS)):
        around = [WORDS[j] for k, j in pairs if k == i]
        if around:
            h, noise = model.inputs[torch.stack(around)].mean(0), NOISE[i // 16]
            loss = loss - F.logsigmoid(h @ model.outputs[WORDS[i]])
            loss = loss - 3 / len(noise) * F.logsigmoid(-(model.outputs[noise] @ h)).sum()
    agree(model, batch(), loss)


def test_a_place_alone_in_its_document_predicts_nothing(vocabulary):
    alone = lay_out(torch.tensor([3]), torch.tensor([0]), torch.tensor([2]), 3, NOISE[:1])
    for build in (sgns, cbow, skipgram):
        model = build(vocabulary, vector_size=5, generator=seeded())
        torch.nn.init.normal_(model.outputs, generator=seeded())
        assert float(model.objective(alone).detach()) == 0
        assert float(model.predictions(alone)) == 0
        assert all(not g.any() for g in by_hand(model, alone))


def test_global_vectors_fit_weighted_logarithms(vocabulary):
    model = doubled(glove(vocabulary, vector_size=5, x_max=2.0, generator=seeded()))
    entries = Cooccurrences(
        torch.tensor([0, 3, 0, 5]), torch.tensor([3, 0, 0, 2]), torch.tensor([0.5, 0.5, 9.0, 2.0]).double()
    )
    loss = torch.zeros((), dtype=torch.float64)
    for a, b, x in zip(*(part.tolist() for part in entries), strict=True):
        error = model.left[a] @ model.right[b] + model.left_bias[a] + model.right_bias[b] - math.log(x)
        loss = loss + min(1.0, (x / 2) ** 0.75) * error**2
    agree(model, entries, loss)


def test_noise_shared_by_a_block_has_the_expected_loss_of_fresh_noise(vocabulary):
    model = doubled(sgns(vocabulary, vector_size=5, negative=3, generator=seeded()))
    noise = Noise(vocabulary.counts)
    bands = lay_out(WORDS, DOCUMENTS, WINDOWS, 3, noise(2, 40_000, generator=seeded(5)))
    near = bands.near.double()
    found = float(model.objective(bands._replace(near=near)).detach())
    scores = model.inputs.rows @ model.outputs.T
    expected = -(F.logsigmoid(-scores) @ noise.chances)
    pairs = pairs_one_by_one(WORDS.tolist(), DOCUMENTS.tolist(), WINDOWS.tolist())
    true = sum(-F.logsigmoid(scores[WORDS[i], WORDS[j]]) + 3 * expected[WORDS[i]] for i, j in pairs)
    assert found == pytest.approx(float(true.detach()), rel=0.02)


def test_adagrad_counts_a_rows_gradients_together():
    table = torch.nn.Parameter(torch.zeros(4, 2))
    rule = AdaGrad({"table": table})
    gradient = Gradient(table, torch.tensor([1, 3, 1]), torch.tensor([[1.0, 2.0], [3.0, 0.0], [2.0, -2.0]]))
    for _ in range(2):
        rule([gradient], 0.5)
    first, second = 3 / math.sqrt(10), 3 / math.sqrt(19)
    assert table[1].tolist() == pytest.approx([-0.5 * (first + second), 0])
    assert table[3].tolist() == pytest.approx([-0.5 * (first + second), 0])
    assert not table[[0, 2]].any()
    other = AdaGrad({"table": torch.nn.Parameter(torch.zeros(4, 2))})
    other.load_state_dict(rule.state_dict())
    assert torch.equal(other.squares["table"], rule.squares["table"])


def test_cooccurrences_are_the_sum_over_pairs(monkeypatch):
    from gradus.sequence.embedding import cooccurrence

    text = Ragged(WORDS.int(), torch.tensor([0, 12, 20]))
    expected = torch.zeros(12, 12)
    for i, j in pairs_one_by_one(WORDS.tolist(), DOCUMENTS.tolist(), [4] * 20):
        expected[WORDS[i], WORDS[j]] += 1 / abs(i - j)
    for at_once in (4_000_000, 7):
        monkeypatch.setattr(cooccurrence, "STRETCH", at_once)
        found = cooccurrences(text, 12, 4)
        dense = torch.zeros(12, 12)
        dense[found.rows, found.columns] = found.counts
        assert torch.allclose(dense, expected)
        assert torch.equal(dense, dense.T)


def test_ngrams_and_buckets():
    assert ngrams("ab") == ["<ab", "<ab>", "ab>"]
    assert ngrams("né", 1, 2) == ["<n", "n", "né", "é", "é>"]
    assert ngrams("word", 3, 0) == []
    # FNV-1a's published 32-bit values of "a" and "foobar"
    assert buckets_of(["a", "foobar"], 2**32).tolist() == [0xE40C292C, 0xBF9CF968]
    assert (buckets_of(["<né", "日本語"], 7) < 7).all()


def test_unseen_words_are_the_mean_of_known_ngrams(vocabulary):
    inputs = fasttext(vocabulary, vector_size=5, generator=seeded()).inputs
    rows = dict(zip(ngrams("ship"), inputs.parts.row(6).tolist()[1:], strict=True))
    expected = inputs.rows[[rows["<sh"], rows["<shi"], rows["shi"]]].mean(0)
    assert torch.allclose(inputs.made_up("shirt"), expected)
    assert inputs.made_up("qqqqq") is None
    with pytest.raises(GradusError, match="min_n"):
        fasttext(vocabulary, min_n=5, max_n=3)


def test_stretches_are_a_function_of_seed_epoch_and_place():
    text = Ragged(torch.randint(0, 50, (950,), generator=seeded()).int(), torch.tensor([0, 400, 950]))
    counts = torch.bincount(text.values.long(), minlength=50)

    def source(seed=3):
        return Stretches(text, keep_chances(counts, 0.01), Noise(counts), window=2, batch_size=200, seed=seed)

    one, two = source(), source()
    assert one.batches_per_epoch == 5
    first = [next(one) for _ in range(7)]
    two.load_state_dict({"epoch": 0, "cursor": 4, "size": 5})
    for a, b in zip(first[4:], [next(two) for _ in range(3)], strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    again, other = one.stretch(1, 0), one.stretch(1, 1)
    assert not torch.equal(again.noise[:2], other.noise[:2])
    assert not torch.equal(source(4).stretch(1).noise[:2], again.noise[:2])
    with pytest.raises(GradusError, match="no word"):
        Stretches(Ragged(torch.zeros(0).int(), torch.tensor([0, 0])), keep_chances(counts, 0), None)


def test_words_are_what_has_a_letter_or_digit():
    assert is_word("word")
    assert is_word("x1")
    assert is_word("don't")
    assert not any(is_word(token) for token in ("[UNK]", ".", "--", "("))


def test_a_vocabulary_is_by_frequency_and_what_is_rare_is_left_out():
    tokens = ["[UNK]", ".", "b", "a", "rare"]
    ids = torch.tensor([2, 1, 3, 3, 0, 2, 3, 1, 1, 1, 4, 3]).int()
    found = Vocabulary.of(tokens, ids, min_count=2)
    assert found.words == ("a", "b")
    assert found.counts.tolist() == [4, 2]
    text = numbered(Ragged(ids, torch.tensor([0, 5, 12])), tokens, found)
    assert text.values.tolist() == [1, 0, 0, 1, 0, 0]
    assert text.offsets.tolist() == [0, 3, 6]
    with pytest.raises(GradusError, match="--min-count"):
        Vocabulary.of(tokens, ids, min_count=4)
    assert Vocabulary.of(tokens, ids, min_count=1, size=2).words == ("a", "b")
