"""The same numbers as torchmetrics, scikit-learn and scipy for segments, samples, clusters and games."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradus.metrics import (
    CentroidSilhouette,
    FrechetDistance,
    InceptionScore,
    IntersectionOverUnion,
    MatrixGame,
    box_overlap,
    frechet_distance,
    kernel_distance,
    silhouettes,
)

linalg = pytest.importorskip("scipy.linalg")
optimize = pytest.importorskip("scipy.optimize")
sklearn = pytest.importorskip("sklearn.metrics")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("ignore", [None, 255, -1])
@pytest.mark.parametrize("classes", [2, 5])
def test_segments(classes, ignore):
    peers = pytest.importorskip("torchmetrics.classification")
    options = {"num_classes": classes, "ignore_index": ignore}
    rng, ours = generator(), IntersectionOverUnion(classes, ignore)
    jaccard, jaccards = (peers.MulticlassJaccardIndex(**options, average=a) for a in ("macro", "none"))
    dice, right = peers.MulticlassF1Score(**options), peers.MulticlassAccuracy(**options, average="micro")
    for batch in (1, 3, 2):
        labels = torch.randint(0, classes, (batch, 6, 7), generator=rng)
        # The last class is predicted now and then and true never; where there are five, the fourth is neither.
        labels[labels >= max(1, classes - 2)] = 0
        scores = torch.randn(batch, classes, 6, 7, generator=rng) + 2 * nn.functional.one_hot(labels, classes).movedim(
            -1, 1
        )
        if classes == 5:
            scores[:, 3] = -99
        if ignore is not None:
            labels[torch.rand(labels.shape, generator=rng) < 0.2] = ignore
        ours.update(scores, labels)
        for peer in (jaccard, jaccards, dice, right):
            peer.update(scores, labels)
    found = ours.compute()
    for value, peer in ((found.iou, jaccard), (found.dice, dice), (found.pixel_accuracy, right)):
        assert float(value) == pytest.approx(float(peer.compute()), rel=1e-6)
    assert found.iou_by_class.nan_to_num().tolist() == pytest.approx(jaccards.compute().tolist(), rel=1e-6)
    assert bool(found.iou_by_class[3].isnan()) if classes == 5 else not bool(found.iou_by_class.isnan().any())


def random_covariance(size: int, rank: int, rng: torch.Generator) -> Tensor:
    factor = torch.randn(size, rank, generator=rng, dtype=torch.float64)
    return factor @ factor.T / rank


@pytest.mark.parametrize(("rank", "tolerance"), [(12, 1e-11), (4, 1e-5)])
def test_the_root_is_scipys(rank, tolerance):
    """Singular covariances too, where a general matrix root is accurate to the root of the rounding only."""
    rng = generator(rank)
    means = torch.randn(2, 6, generator=rng, dtype=torch.float64)
    one, two = (random_covariance(6, rank, rng) for _ in range(2))
    root = np.real(linalg.sqrtm((one @ two).numpy()))
    expected = float((means[0] - means[1]).square().sum() + one.trace() + two.trace()) - 2 * np.trace(root)
    assert float(frechet_distance(means[0], one, means[1], two)) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_streamed_moments_are_numpys(offset):
    rng, metric = generator(), FrechetDistance(5)
    mix = torch.randn(5, 5, generator=rng, dtype=torch.float64)
    parts = {True: [], False: []}
    for size in (1, 40, 300):
        for real, shift in ((True, 0.0), (False, 0.5)):
            rows = torch.randn(size, 5, generator=rng, dtype=torch.float64) @ mix + shift + offset
            metric.update(rows, real)
            parts[real].append(rows)
    clouds = [torch.cat(parts[real]).numpy() for real in (True, False)]
    one, two = (np.cov(cloud, rowvar=False) for cloud in clouds)
    apart = np.square(clouds[0].mean(0) - clouds[1].mean(0)).sum()
    expected = apart + np.trace(one + two - 2 * np.real(linalg.sqrtm(one @ two)))
    assert float(metric.compute()) == pytest.approx(expected, rel=1e-10 if offset == 0 else 1e-7)


class Features(nn.Module):
    """Eight features and classes of an image, in place of a network that must be downloaded."""

    num_features = 8

    def __init__(self):
        super().__init__()
        self.register_buffer("weights", torch.randn(3 * 6 * 6, 8, generator=generator(1)).double() / 4)

    def forward(self, images):
        return (images.double().flatten(1) / 64 - 2) @ self.weights


def test_frechet_inception_distance():
    peers = pytest.importorskip("torchmetrics.image.fid")
    features = Features()
    theirs = peers.FrechetInceptionDistance(feature=features, input_img_size=(3, 6, 6)).set_dtype(torch.float64)
    ours, rng = FrechetDistance(8, Features()), generator()
    for _ in range(3):
        for real, top in ((True, 256), (False, 200)):
            images = torch.randint(0, top, (30, 3, 6, 6), generator=rng, dtype=torch.uint8)
            ours.update(images.double(), real)
            theirs.update(images, real)
    assert float(ours.compute()) == pytest.approx(float(theirs.compute()), rel=1e-4)


def test_inception_score():
    peers = pytest.importorskip("torchmetrics.image.inception")
    features, rng = Features(), generator()
    theirs, ours = peers.InceptionScore(feature=features, splits=1), InceptionScore(8)
    for size in (5, 30):
        images = torch.randint(0, 256, (size, 3, 6, 6), generator=rng, dtype=torch.uint8)
        theirs.update(images)
        ours.update(features(images))
    assert float(ours.compute().score) == pytest.approx(float(theirs.compute()[0]), rel=1e-5)


@pytest.mark.parametrize("degree", [1, 3])
def test_kernel_distance(degree):
    peer = pytest.importorskip("torchmetrics.image.kid").poly_mmd
    rng = generator()
    x, y = torch.randn(20, 4, generator=rng).double(), 0.3 + torch.randn(20, 4, generator=rng).double()
    assert float(kernel_distance(x, y, degree)) == pytest.approx(float(peer(x, y, degree, None, 1.0)), rel=1e-10)


def clusters(scale: float = 1.0) -> tuple[Tensor, Tensor]:
    labels = torch.randint(0, 4, (150,), generator=generator()).where(torch.arange(150) != 7, 4)
    centres = 2 * torch.randn(5, 3, generator=generator(1), dtype=torch.float64)
    return scale * torch.randn(150, 3, generator=generator(2), dtype=torch.float64) + centres[labels], labels


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_silhouettes(scale):
    """One cluster has a single point, whose silhouette is zero."""
    points, labels = clusters(scale)
    found = silhouettes(points, 3 * labels - 7)
    assert found.tolist() == pytest.approx(sklearn.silhouette_samples(points, labels).tolist(), abs=1e-12)
    assert float(found.mean()) == pytest.approx(sklearn.silhouette_score(points, labels), abs=1e-12)


def test_the_streamed_squared_silhouette_is_exact():
    points, labels = clusters()
    member = nn.functional.one_hot(labels).double()
    sizes = member.sum(0)
    centres = member.T @ points / sizes[:, None]
    spreads = (member.T @ (points - centres[labels]).square().sum(1, keepdim=True)).squeeze(1) / sizes
    metric = CentroidSilhouette(centres, sizes, spreads)
    for part, names in zip(points.split(40), labels.split(40)):
        metric.update(part, names)
    each = sklearn.silhouette_samples(points, labels, metric="sqeuclidean")
    found = metric.compute()
    assert float(found.score) == pytest.approx(each.mean(), abs=1e-12)
    assert found.by_cluster.tolist() == pytest.approx([each[labels == k].mean() for k in range(5)], abs=1e-12)


def test_box_overlap():
    ops = pytest.importorskip("torchvision.ops")
    corner, size = torch.rand(2, 30, 2, generator=generator(), dtype=torch.float64)
    boxes = torch.cat([corner, corner + size], dim=1)
    torch.testing.assert_close(box_overlap(boxes[:10], boxes[10:]), ops.box_iou(boxes[:10], boxes[10:]))


@pytest.mark.parametrize("shape", [(2, 2), (3, 5), (6, 4)])
def test_equilibria_found_by_linear_programming_cannot_be_exploited(shape):
    """max v, xᵀA ≥ v, for the row player; the column player's by duality."""
    payoffs = torch.randn(shape, generator=generator(sum(shape)), dtype=torch.float64)

    def safest(matrix: np.ndarray) -> Tensor:
        actions, columns = matrix.shape
        bounds = [(0, None)] * actions + [(None, None)]
        found = optimize.linprog(
            [0] * actions + [-1],
            A_ub=np.hstack([-matrix.T, np.ones((columns, 1))]),
            b_ub=np.zeros(columns),
            A_eq=[[1] * actions + [0]],
            b_eq=[1],
            bounds=bounds,
        )
        return torch.as_tensor(found.x[:-1])

    game = MatrixGame(payoffs)
    row, column = safest(payoffs.numpy()), safest(-payoffs.T.numpy())
    assert float(game.deviation(row, column).nash_conv) == pytest.approx(0, abs=1e-9)
    uniform = torch.full_like(row, 1 / len(row))
    assert float(game.deviation(uniform, column).nash_conv) > 1e-3
