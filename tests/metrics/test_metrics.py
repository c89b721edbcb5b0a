"""Metrics against hand-counted answers, and the laws every registered one keeps."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus import canon
from gradus.errors import GradusError
from gradus.metrics import ROC, Accuracy, Calibration, Confusion, Mean, Metric, PrecisionRecallCurve, PrecisionRecallF1
from gradus.testing.metrics import check_metric, same, stream

METRICS = sorted(id for id, entry in canon.scan().items() if entry.kind == "metric")


def make(id: str) -> Metric:
    kind = canon.load(canon.scan()[id])
    return (canon.example(id) or kind)()


def test_the_registry_knows_metrics():
    names = canon.names("metric")
    assert {"mean", "accuracy", "confusion", "calibration", "roc", "precision-recall-curve", "f1"} <= set(names)


@pytest.mark.parametrize("id", METRICS)
def test_contract(id):
    check_metric(lambda: make(id))


@pytest.mark.parametrize("id", METRICS)
@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 60), max_size=4), shuffle=st.integers(0, 1000))
def test_any_parts_merge_to_the_whole(id, cuts, shuffle):
    columns = [torch.cat(column) for column in zip(*stream(make(id), 20))]
    rows = len(columns[0])
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(shuffle))
    whole, merged = make(id), make(id)
    whole.update(*columns)
    edges = [0, *sorted(min(cut, rows) for cut in cuts), rows]
    for start, stop in pairwise(edges):
        part = make(id)
        part.update(*(column[order][start:stop] for column in columns))
        merged.merge(part)
    assert same(merged.compute(), whole.compute())


@pytest.mark.parametrize("id", METRICS)
def test_repr_and_nothing_seen(id):
    metric = make(id)
    assert repr(metric).startswith(type(metric).__name__ + "(")
    first = metric.compute()
    if not isinstance(metric, Confusion):
        headline = first if isinstance(first, torch.Tensor) else first[0]
        assert bool(headline.isnan())


def test_weighted_mean():
    mean = Mean()
    mean.update(2.0, weights=3.0)
    mean.update(torch.tensor([10.0]), weights=torch.tensor(1.0))
    assert float(mean.compute()) == 4.0


def test_mean_of_many_float32_values_does_not_drift():
    mean = Mean()
    for _ in range(100):
        mean.update(torch.full((10_000,), 0.1))
    assert float(mean.compute()) == pytest.approx(float(torch.tensor(0.1)), rel=1e-12)


def test_accuracy_takes_soft_labels_and_k():
    scores = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
    labels = torch.tensor([1, 1, 2, 2])
    soft = 0.1 + 0.7 * torch.eye(3)[labels]
    for answer, k in ((0.5, 1), (0.75, 2), (1.0, 3)):
        for given_labels in (labels, soft):
            accuracy = Accuracy(k)
            accuracy.update(scores, given_labels)
            assert float(accuracy.compute()) == answer


def test_a_constant_model_is_not_perfect():
    accuracy = Accuracy(k=2)
    accuracy.update(torch.zeros(9, 3), torch.arange(9) % 3)
    assert float(accuracy.compute()) == pytest.approx(2 / 3)


def test_confusion_rows_are_the_truth():
    confusion = Confusion(3)
    confusion.update(torch.tensor([1, 1, 2]), torch.tensor([0, 1, 0]))
    assert confusion.compute().tolist() == [[0, 1, 1], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("labels", [[0, 3], [-1, 1]])
@pytest.mark.parametrize("kind", [Confusion, PrecisionRecallF1, ROC, PrecisionRecallCurve])
def test_labels_outside_the_classes_are_told_at_compute(kind, labels):
    metric = kind(3)
    metric.update(torch.rand(2, 3), torch.tensor(labels))
    with pytest.raises(GradusError, match="outside the 3 classes"):
        metric.compute()


def test_calibration_by_hand():
    calibration = Calibration(bins=2, from_logits=False)
    scores = torch.tensor([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0], [0.25, 0.75]], dtype=torch.float64)
    calibration.update(scores, torch.tensor([0, 1, 0, 1]))
    found = calibration.compute()
    assert found.samples.tolist() == [1, 3]
    assert found.confidence.tolist() == [0.5, pytest.approx(2.5 / 3)]
    assert found.accuracy.tolist() == [1.0, pytest.approx(2 / 3)]
    assert float(found.ece) == pytest.approx((0.5 + 0.5) / 4)
    assert float(found.mce) == 0.5
    assert float(found.brier) == pytest.approx((0.5 + 2 * 0.75**2 + 0 + 2 * 0.25**2) / 4)


def test_a_calibrated_forecaster_has_a_small_error_and_an_overconfident_one_has_not():
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(20_000, generator=generator, dtype=torch.float64)
    labels = (torch.rand(20_000, generator=generator, dtype=torch.float64) < p).long()
    logits = torch.stack([torch.zeros_like(p), torch.logit(p)], dim=1)
    errors = []
    for sharpness in (1, 3):
        calibration = Calibration()
        calibration.update(sharpness * logits, labels)
        errors.append(float(calibration.compute().ece))
    assert errors[0] < 0.012 < 0.08 < errors[1]


def test_auc_is_the_probability_that_a_positive_outranks_a_negative():
    generator = torch.Generator().manual_seed(1)
    scores = torch.randint(0, 17, (300,), generator=generator) / 16
    labels = torch.randint(0, 2, (300,), generator=generator)
    roc = ROC(thresholds=17, from_logits=False)
    roc.update(scores.double(), labels)
    won = (scores[labels == 1][:, None] - scores[labels == 0]).sign().double()
    assert float(roc.compute().auc) == pytest.approx(float((won + 1).mean() / 2), abs=1e-12)


def test_a_class_without_positives_leaves_the_mean_alone():
    roc = ROC(3)
    roc.update(torch.tensor([[3.0, 0, 0], [0, 3.0, 0], [2.0, 1.0, 0]]), torch.tensor([0, 1, 0]))
    found = roc.compute()
    assert float(found.auc) == 1.0
    assert math.isnan(found.auc_by_class[2])


def test_metrics_of_other_settings_do_not_mix():
    for left, right in ((Confusion(3), Confusion(4)), (Accuracy(1), Accuracy(2)), (Accuracy(), Mean())):
        with pytest.raises(GradusError, match="cannot merge"):
            left.merge(right)
        with pytest.raises(GradusError, match="cannot load"):
            left.load_state_dict(right.state_dict())


@pytest.mark.parametrize(
    "bad",
    [
        lambda: Accuracy(0),
        lambda: Accuracy(4).update(torch.rand(2, 3), torch.tensor([0, 1])),
        lambda: Confusion(0),
        lambda: Confusion(4).update(torch.rand(2, 3), torch.tensor([0, 1])),
        lambda: ROC(4).update(torch.rand(2, 3), torch.tensor([0, 1])),
        lambda: ROC(1, thresholds=1),
        lambda: Calibration(bins=0),
        lambda: PrecisionRecallF1(3, average="marco"),
    ],
)
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(GradusError):
        bad()


class MergesByAveraging(Accuracy):
    def merge(self, other):
        for name, total in other.sums.items():
            self.sums[name] = (self.sums[name] + total) // 2


class AveragesBatches(Mean):
    def update(self, values, weights=1.0):
        super().update(values.mean())


class KeepsEveryBatch(Accuracy):
    def __init__(self):
        super().__init__()
        self.seen = []

    def update(self, scores, labels):
        self.seen.append(scores)
        super().update(scores, labels)


class WaitsForTheDevice(Accuracy):
    def update(self, scores, labels):
        if scores.max().item() < 1e9:
            super().update(scores, labels)


class SharesItsState(Accuracy):
    def state_dict(self):
        return {"settings": self.settings, "sums": self.sums}


class ForgetsToResetTheCount(Accuracy):
    def reset(self):
        self.sums["hits"].zero_()


class ComputeResets(Accuracy):
    def compute(self):
        found = super().compute()
        self.reset()
        return found


class LoadsNothing(Accuracy):
    def load_state_dict(self, state):
        pass


class SortsItsLabels(Accuracy):
    def update(self, scores, labels):
        super().update(scores, labels)
        labels.copy_(labels.sort().values)


class RemembersTheLastBatchOnly(Accuracy):
    def update(self, scores, labels):
        self.reset()
        super().update(scores, labels)


@pytest.mark.parametrize(
    ("twin", "complaint"),
    [
        (MergesByAveraging, "are not the whole"),
        (AveragesBatches, "than many small ones"),
        (KeepsEveryBatch, "keeps what it is given"),
        (WaitsForTheDevice, "waits for the device"),
        (SharesItsState, "saved state changes"),
        (ForgetsToResetTheCount, "reset does not forget"),
        (ComputeResets, "asking twice"),
        (LoadsNothing, "does not round-trip"),
        (SortsItsLabels, "changed what it was given"),
        (RemembersTheLastBatchOnly, "than many small ones"),
    ],
)
def test_planted_bugs_are_rejected(twin, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check_metric(twin)
