"""Mean average precision against a slow reading of COCO's definition, one image, class and threshold at a time."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from gradus.errors import GradusError
from gradus.metrics import MeanAveragePrecision
from gradus.testing.metrics import check_metric, same


def overlap(a: list[float], b: list[float]) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = wide * high if wide > 0 and high > 0 else 0.0
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def hits_of_image(found, true, threshold: float, most: int) -> list[tuple[float, bool]]:
    """Return score and hit of each detection; `found` and `true` are of one class."""
    taken, verdicts = set(), []
    for score, box in sorted(found, key=lambda pair: -pair[0])[:most]:
        free = [(overlap(box, other), j) for j, other in enumerate(true) if j not in taken]
        best = max(free, default=(0.0, -1))
        verdicts.append((score, best[0] >= threshold))
        if best[0] >= threshold:
            taken.add(best[1])
    return verdicts


def average_precision(verdicts: list[tuple[float, bool]], boxes: int) -> float:
    curve, hits = [], 0
    for rank, (_, hit) in enumerate(sorted(verdicts, key=lambda pair: -pair[0]), start=1):
        hits += hit
        curve.append((Fraction(hits, boxes), hits / rank))
    steps = [max((p for r, p in curve if r >= Fraction(k, 100)), default=0.0) for k in range(101)]
    return sum(steps) / 101


def reference(images, classes: int, most: int = 100) -> list[list[float]]:
    """Return AP by threshold and class, NaN where a class has no true box."""
    table = []
    for step in range(10):
        row = []
        for k in range(classes):
            verdicts, boxes = [], 0
            for found_boxes, scores, labels, true_boxes, true_labels in images:
                triples = zip(scores.tolist(), found_boxes.tolist(), labels.tolist())
                found = [(s, b) for s, b, label in triples if label == k]
                true = [b for b, label in zip(true_boxes.tolist(), true_labels.tolist()) if label == k]
                verdicts += hits_of_image(found, true, (50 + 5 * step) / 100, most)
                boxes += len(true)
            row.append(average_precision(verdicts, boxes) if boxes else float("nan"))
        table.append(row)
    return table


def scenes(count: int, classes: int, seed: int = 0, detections: int = 9, objects: int = 6) -> tuple[Tensor, ...]:
    """Padded images whose detections are true boxes moved a little, some of a wrong class, no two of one score."""
    rng = torch.Generator().manual_seed(seed)
    corner, size = 80 * torch.rand(2, count, objects, 2, generator=rng, dtype=torch.float64)
    true = torch.cat([corner, corner + size + 8], dim=2)
    true_labels = torch.randint(-1, classes, (count, objects), generator=rng)
    source = torch.randint(0, objects, (count, detections), generator=rng)
    boxes = true.gather(1, source.unsqueeze(2).expand(-1, -1, 4))
    boxes = boxes + torch.randn(boxes.shape, generator=rng, dtype=torch.float64)
    labels = true_labels.gather(1, source)
    stray = torch.rand(labels.shape, generator=rng) < 0.2
    labels = torch.where(stray, torch.randint(0, classes, labels.shape, generator=rng), labels)
    scores = (torch.randperm(1000, generator=rng)[: count * detections].double() + 0.5) / 1000
    return boxes, scores.view(count, detections), labels, true, true_labels


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("most", [100, 2])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cocos_definition(classes, most, seed):
    given = scenes(30, classes + 1, seed)
    # The last class is detected and never true: it has no average precision and no part in the mean.
    given[4][given[4] == classes] = -1
    metric = MeanAveragePrecision(classes + 1, most=most)
    for start, stop in ((0, 1), (1, 20), (20, 30)):
        metric.update(*(part[start:stop] for part in given))
    expected, found = torch.tensor(reference(list(zip(*given)), classes + 1, most)).double(), metric.compute()
    assert found.by_class[:classes].tolist() == pytest.approx(expected[:, :classes].mean(0).tolist(), abs=1e-6)
    assert bool(found.by_class[-1].isnan())
    by_threshold = expected[:, :classes].mean(1).tolist()
    assert found.by_threshold.tolist() == pytest.approx(by_threshold, abs=1e-6)
    assert float(found.map50) == pytest.approx(by_threshold[0], abs=1e-6)
    assert float(found.map75) == pytest.approx(by_threshold[5], abs=1e-6)
    assert float(found.map) == pytest.approx(sum(by_threshold) / 10, abs=1e-6)
    assert 0.1 < float(found.map) < float(found.map50) < 1


def test_contract():
    given = scenes(40, 3)
    cuts = [tuple(part[i : i + size] for part in given) for i, size in ((0, 4), (4, 1), (5, 12), (17, 23))]
    check_metric(lambda: MeanAveragePrecision(3), cuts)


def test_perfect_and_hopeless_detectors():
    true, true_labels = scenes(12, 2)[3:]
    scores = torch.full(true_labels.shape, 0.5)
    perfect, hopeless = MeanAveragePrecision(2), MeanAveragePrecision(2)
    perfect.update(true, scores, true_labels, true, true_labels)
    hopeless.update(true + 1000, scores, true_labels, true, true_labels)
    assert float(perfect.compute().map) == 1
    assert float(hopeless.compute().map) == 0


def test_a_second_detection_of_a_box_is_false():
    box, none = torch.tensor([[[0.0, 0, 10, 10]]]), torch.zeros(1, 0, 4)
    metric = MeanAveragePrecision(1)
    metric.update(
        box.expand(1, 2, 4), torch.tensor([[0.9, 0.8]]), torch.zeros(1, 2).long(), box, torch.zeros(1, 1).long()
    )
    assert float(metric.compute().map) == 1  # full recall is reached before it
    metric.update(none, torch.zeros(1, 0), torch.zeros(1, 0).long(), box, torch.zeros(1, 1).long())
    assert float(metric.compute().map) == pytest.approx(51 / 101)  # half the boxes are never found
    metric.update(box, torch.tensor([[0.95]]), torch.zeros(1, 1).long(), none, torch.zeros(1, 0).long())
    assert float(metric.compute().map) == pytest.approx(51 / 101 / 2)  # and a louder false alarm halves precision


def test_few_bins_lose_little():
    given = scenes(40, 2, seed=3)
    found = []
    for bins in (1000, 100):
        metric = MeanAveragePrecision(2, bins=bins)
        metric.update(*given)
        found.append(float(metric.compute().map))
    assert found[0] == pytest.approx(found[1], abs=0.01)


def test_padding_counts_for_nothing():
    given = scenes(10, 2)
    plain, padded = MeanAveragePrecision(2), MeanAveragePrecision(2)
    plain.update(*given)
    fills = (0.0, 2.0, -1, 0.0, -1)
    padded.update(*(torch.cat([part, torch.full_like(part[:, :3], fill)], 1) for part, fill in zip(given, fills)))
    assert same(plain.compute(), padded.compute())


@pytest.mark.parametrize(("score", "label"), [(3.0, 0), (float("nan"), 0), (0.5, 2)])
def test_nonsense_is_told_at_compute(score, label):
    box = torch.tensor([[[0.0, 0, 1, 1]]])
    metric = MeanAveragePrecision(2)
    metric.update(box, torch.tensor([[score]]), torch.tensor([[label]]), box, torch.tensor([[0]]))
    with pytest.raises(GradusError, match="outside"):
        metric.compute()
