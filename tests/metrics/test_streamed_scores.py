"""Closed forms of the streamed scores: texts, segments, samples, clusters, games."""

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.errors import GradusError
from gradus.metrics import (
    BLEU,
    BitsPerDimension,
    CentroidSilhouette,
    Exploitability,
    FrechetDistance,
    InceptionScore,
    IntersectionOverUnion,
    MatrixGame,
    MeanAveragePrecision,
    Perplexity,
    frechet_distance,
    kernel_distance,
    nash_conv,
    silhouettes,
)
from gradus.testing.metrics import check_metric, same

ROSHAMBO = [[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]


def numbered(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Sentences of token numbers with two references each, padded; some are empty."""
    rng = torch.Generator().manual_seed(seed)
    found, true = torch.randint(0, 4, (count, 9), generator=rng), torch.randint(0, 4, (count, 2, 7), generator=rng)
    found[torch.arange(9) >= torch.randint(0, 10, (count, 1), generator=rng)] = -1
    true[torch.arange(7) >= torch.randint(0, 8, (count, 2, 1), generator=rng)] = -1
    return found, true


@pytest.mark.parametrize("smoothing", ["none", "exp", "floor", "add-k"])
def test_bleu_keeps_the_contract(smoothing):
    found, true = numbered(60)
    cuts = list(zip(found.split([20, 1, 9, 30]), true.split([20, 1, 9, 30])))
    check_metric(lambda: BLEU(smoothing=smoothing), cuts)


def test_bleu_of_text_is_that_of_its_numbers():
    found, true = numbered(40)

    def text(row: torch.Tensor) -> str:
        return " ".join("wxyz"[token] for token in row.tolist() if token >= 0)

    numbers, words = BLEU(), BLEU()
    numbers.update(found, true)
    words.update([text(row) for row in found], [[text(row) for row in rows] for rows in true])
    assert same(numbers.compute(), words.compute())


def test_bleu_by_hand():
    """The clipped "the the the" of the paper, and its brevity."""
    bleu = BLEU(order=1, smoothing="none")
    bleu.update(["the the the the the the the"], [["the cat is on the mat", "there is a cat on the mat"]])
    assert bleu.compute().precisions.tolist() == [pytest.approx(200 / 7)]
    brief = BLEU(order=2)
    brief.update(["a b c"], [["a b c d", "a b c d e f"]])
    found = brief.compute()
    assert float(found.brevity_penalty) == pytest.approx(math.exp(1 - 4 / 3))
    assert float(found.score) == pytest.approx(100 * math.exp(1 - 4 / 3))


def test_bleu_takes_unlike_numbers_of_references():
    bleu = BLEU(order=1)
    bleu.update(["a b", "c d"], [["a x", "y b", "z"], ["c e"]])
    assert bleu.compute().precisions.tolist() == [pytest.approx(75)]
    assert int(bleu.compute().reference_length) == 4


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_bleu_of_a_reference_is_100_whichever_the_others(seed):
    rng = random.Random(seed)
    texts = [" ".join(rng.choices("abcde", k=rng.randint(4, 9))) for _ in range(5)]
    bleu = BLEU()
    bleu.update(texts, [[rng.choice(texts), text] for text in texts])
    assert float(bleu.compute().score) == pytest.approx(100)


@pytest.mark.parametrize("shape", [(4, 6), (3,), (2, 3, 5)])
def test_a_uniform_guess_is_as_perplexed_as_the_vocabulary_is_large(shape):
    perplexity = Perplexity(ignore=None)
    perplexity.update(torch.full((*shape, 17), 3.0), torch.zeros(shape, dtype=torch.int64))
    assert float(perplexity.compute().perplexity) == pytest.approx(17, rel=1e-12)


def test_ignored_tokens_may_have_any_scores():
    scores, labels = torch.randn(5, 4), torch.tensor([0, 9, 1, 9, 2])
    some, all_of_them = Perplexity(ignore=9), Perplexity()
    all_of_them.update(scores[labels != 9], labels[labels != 9])
    scores[labels == 9] = torch.nan
    some.update(scores, labels)
    assert same(some.compute(), all_of_them.compute())
    strict = Perplexity()
    strict.update(scores, labels)
    with pytest.raises(GradusError, match="outside the vocabulary"):
        strict.compute()


def test_bits_per_dimension_of_a_uniform_density():
    """Every one of 256 levels alike is 8 bits: as a probability, and as a density of levels scaled to [0, 1]."""
    levels, density = BitsPerDimension(10), BitsPerDimension(10, width=1 / 256)
    levels.update(torch.full((7,), 10 * math.log(256), dtype=torch.float64))
    density.update(torch.zeros(7))
    assert float(levels.compute()) == pytest.approx(8)
    assert float(density.compute()) == pytest.approx(8)


def test_overlap_by_hand():
    metric = IntersectionOverUnion(3, ignore=2)
    metric.update(torch.tensor([[[0, 0], [1, 1]]]), torch.tensor([[[0, 1], [1, 2]]]))
    found = metric.compute()
    assert found.iou_by_class[:2].tolist() == [0.5, 0.5]
    assert found.dice_by_class[:2].tolist() == pytest.approx([2 / 3, 2 / 3])
    assert math.isnan(found.iou_by_class[2])
    assert float(found.pixel_accuracy) == pytest.approx(2 / 3)
    metric.update(torch.tensor([[[0]]]), torch.tensor([[[7]]]))
    with pytest.raises(GradusError, match="outside the 3 classes"):
        metric.compute()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_dice_follows_from_intersection_over_union(seed):
    rng = torch.Generator().manual_seed(seed)
    metric = IntersectionOverUnion(4)
    metric.update(*(torch.randint(0, 4, (2, 5, 5), generator=rng) for _ in range(2)))
    found = metric.compute()
    torch.testing.assert_close(found.dice_by_class, 2 * found.iou_by_class / (1 + found.iou_by_class))


def test_frechet_distance_of_commuting_gaussians():
    """d² = ‖μ₁ − μ₂‖² + Σ (σ₁ − σ₂)² where covariances commute, here in a turned basis."""
    rng = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(4, 4, generator=rng, dtype=torch.float64)).Q
    one, two = (torch.rand(4, generator=rng, dtype=torch.float64) for _ in range(2))
    mean = torch.arange(4.0, dtype=torch.float64)
    found = frechet_distance(mean, basis @ (one**2).diag() @ basis.T, 0 * mean, basis @ (two**2).diag() @ basis.T)
    assert float(found) == pytest.approx(14 + float((one - two).square().sum()), rel=1e-12)


def test_frechet_distance_is_zero_of_the_same_and_symmetric_and_mixes_kinds():
    rng = torch.Generator().manual_seed(1)
    rows, others = torch.randn(50, 3, generator=rng).double(), 2 * torch.randn(70, 3, generator=rng).double() + 1
    twin, there, back, mixed = (FrechetDistance(3) for _ in range(4))
    for real in (True, False):
        twin.update(rows, real)
        there.update(rows if real else others, real)
        back.update(others if real else rows, real)
    mixed.update(torch.cat([rows, others]), torch.arange(120) < 50)
    assert float(twin.compute()) == pytest.approx(0, abs=1e-12)
    assert float(there.compute()) == pytest.approx(float(back.compute()), rel=1e-12)
    assert float(there.compute()) == pytest.approx(float(mixed.compute()), rel=1e-12)
    assert float(there.compute()) > 3


def test_the_kernel_distance_of_like_samples_is_zero_in_the_mean():
    rng = torch.Generator().manual_seed(2)
    same_kind = torch.stack([kernel_distance(*torch.randn(2, 15, 3, generator=rng)) for _ in range(400)])
    assert abs(float(same_kind.mean())) < 4 * float(same_kind.std()) / 20
    first, second = torch.randn(2, 15, 3, generator=rng)
    assert float(kernel_distance(first, second + 2)) > 1


def test_inception_score_runs_from_1_to_the_number_of_classes():
    sure, unsure, one = (InceptionScore(5, from_logits=False) for _ in range(3))
    sure.update(torch.eye(5).repeat(4, 1))
    unsure.update(torch.full((20, 5), 0.2))
    one.update(torch.eye(5)[:1].repeat(20, 1))
    assert [float(score.compute().score) for score in (sure, unsure, one)] == pytest.approx([5, 1, 1])


def test_splits_of_the_inception_score_are_scored_apart():
    score = InceptionScore(4, splits=3, from_logits=False)
    score.update(torch.eye(4)[[0, 1, 2, 3]], torch.tensor([0, 0, 1, 1]))
    score.update(torch.eye(4)[2:], 0)
    found = score.compute()
    assert found.by_split[:2].tolist() == pytest.approx([4, 2])
    assert math.isnan(found.by_split[2])
    assert float(found.score) == pytest.approx(3)
    assert float(found.std) == pytest.approx(2**0.5)
    score.update(torch.eye(4), 3)
    with pytest.raises(GradusError, match="outside the 3 splits"):
        score.compute()


def test_silhouettes_by_hand():
    points = torch.tensor([[0.0], [1.0], [10.0], [12.0], [30.0]])
    expected = [1 - 1 / 11, 1 - 1 / 10, 1 - 2 / 9.5, 1 - 2 / 11.5, 0]
    assert silhouettes(points, torch.tensor([4, 4, 7, 7, 9])).tolist() == pytest.approx(expected)
    centres = CentroidSilhouette([[0.5], [11.0]])
    centres.update(points[:4], torch.tensor([0, 0, 1, 1]))
    expected = [1 - 0.5 / 11, 1 - 0.5 / 10, 1 - 1 / 9.5, 1 - 1 / 11.5]
    assert float(centres.compute().score) == pytest.approx(sum(expected) / 4)
    centres.update(points[4:], torch.tensor([2]))
    with pytest.raises(GradusError, match="outside"):
        centres.compute()


def test_rock_paper_scissors():
    game, third = MatrixGame(ROSHAMBO), torch.full((3,), 1 / 3, dtype=torch.float64)
    rock = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    assert float(game.deviation(third, third).nash_conv) == pytest.approx(0, abs=1e-15)
    lopsided = game.deviation(rock, third)  # paper would win 1 against rock; against a third of each nothing helps
    assert lopsided.gains.tolist() == pytest.approx([0, 1])
    assert float(lopsided.exploitability) == pytest.approx(0.5)
    assert float(game.deviation(rock, rock).nash_conv) == 2


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(-3, 3))
def test_nash_conv_is_never_negative_and_ignores_a_constant(seed, constant):
    rng = torch.Generator().manual_seed(seed)
    payoffs = torch.randn(4, 3, generator=rng, dtype=torch.float64)
    row, column = (torch.rand(6, n, generator=rng, dtype=torch.float64).softmax(1) for n in (4, 3))
    found, moved = (MatrixGame(payoffs + shift).deviation(row, column) for shift in (0, constant))
    assert bool((found.gains >= -1e-12).all())
    torch.testing.assert_close(found.nash_conv, moved.nash_conv, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.exploitability, found.nash_conv / 2)


def test_nash_conv_of_values_found_elsewhere():
    assert float(nash_conv([0.25, -0.25], [0.75, 0.0]).nash_conv) == 0.75
    three = nash_conv([0.0, 0.0, 0.0], lambda player: [0.3, 0.0, 0.6][player])
    assert float(three.exploitability) == pytest.approx(0.3)
    with pytest.raises(GradusError, match="worse"):
        nash_conv([1.0, -1.0], [0.5, -1.0])


def test_average_play_is_what_counts():
    """Each round is exploited by 1; over rounds that go round, nothing is lost."""
    game = Exploitability(ROSHAMBO)
    for action in range(3):
        game.update(torch.tensor([action]), torch.tensor([action]))
        assert float(game.compute().exploitability) == pytest.approx([1, 0.5, 0][action], abs=1e-12)
    game.update(torch.tensor([3]), torch.tensor([0]))
    with pytest.raises(GradusError, match="outside the game"):
        game.compute()


def test_states_stay_small():
    """A long stream leaves as much behind as a short one: bytes, of every metric whose name promises it."""
    text = ["a b c d", "b c d e f"]
    box, label = torch.tensor([[[0.0, 0, 1, 1]]]), torch.zeros(1, 1, dtype=torch.int64)
    streams = [
        (BLEU(), (text, [[one] for one in text])),
        (MeanAveragePrecision(2), (box, torch.full((1, 1), 0.5), label, box, label)),
        (Perplexity(), (torch.randn(2, 8, 5), torch.zeros(2, 8, dtype=torch.int64))),
        (IntersectionOverUnion(3), (torch.randn(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.int64))),
        (FrechetDistance(4), (torch.randn(8, 4), True)),
        (InceptionScore(4), (torch.randn(8, 4),)),
    ]
    for metric, batch in streams:
        sizes = []
        for _ in range(3):
            for _ in range(20):
                metric.update(*batch)
            sizes.append(sum(part.untyped_storage().nbytes() for part in metric.state_dict()["sums"].values()))
        assert len(set(sizes)) == 1


@pytest.mark.parametrize(
    "bad",
    [
        lambda: BLEU(smoothing="expo"),
        lambda: BLEU(tokeniser="13b"),
        lambda: BLEU(order=0),
        lambda: BLEU().update(["a"], [["a"], ["b"]]),
        lambda: BLEU().update(["a"], [[]]),
        lambda: BLEU().update(["a"], ["a"]),
        lambda: BitsPerDimension(0),
        lambda: IntersectionOverUnion(4).update(torch.rand(2, 3), torch.tensor([0, 1])),
        lambda: FrechetDistance(0),
        lambda: FrechetDistance(4).update(torch.rand(2, 3), True),
        lambda: kernel_distance(torch.rand(1, 3), torch.rand(4, 3)),
        lambda: InceptionScore(3, splits=0),
        lambda: MeanAveragePrecision(0),
        lambda: silhouettes(torch.rand(4, 2), torch.zeros(4).long()),
        lambda: CentroidSilhouette([[1.0]]),
        lambda: CentroidSilhouette([[1.0], [2.0]], sizes=[1.0, 2.0]),
        lambda: MatrixGame([[math.nan]]),
        lambda: MatrixGame(ROSHAMBO).deviation(torch.ones(3), torch.ones(3)),
        lambda: nash_conv([1.0, math.inf], [1.0, 1.0]),
    ],
)
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(GradusError):
        bad()
