"""The same numbers as torchmetrics and scikit-learn where the definition is the same."""

import numpy as np
import pytest
import torch

from gradus.metrics import ROC, Accuracy, Calibration, Confusion, Mean, PrecisionRecallCurve, PrecisionRecallF1

torchmetrics = pytest.importorskip("torchmetrics")
peers = pytest.importorskip("torchmetrics.classification")
sklearn = pytest.importorskip("sklearn.metrics")


def stream(classes: int, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of logits that are right more often than not, with a class that is rare."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for size in (40, 1, 77, 120):
        labels = torch.randint(0, classes, (size,), generator=generator)
        labels[labels == classes - 1] *= torch.rand(int((labels == classes - 1).sum()), generator=generator) < 0.2
        logits = 2 * torch.randn(size, classes, generator=generator, dtype=torch.float64)
        batches.append((logits + 2 * torch.eye(classes)[labels], labels))
    return batches


def fed(metric, batches, transform=lambda scores: scores):
    for scores, labels in batches:
        metric.update(transform(scores), labels)
    return metric


def close(ours: torch.Tensor, theirs, tolerance: float = 1e-10) -> None:
    theirs = torch.as_tensor(np.asarray(theirs))
    torch.testing.assert_close(ours.double(), theirs.double(), rtol=0, atol=tolerance)


def joined(batches) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.cat(column) for column in zip(*batches))


def test_mean():
    ours, theirs = Mean(), torchmetrics.MeanMetric().set_dtype(torch.float64)
    for scores, _ in stream(3):
        values, weights = scores[:, 0], scores[:, 1].abs()
        ours.update(values, weights)
        theirs.update(values, weights)
    close(ours.compute(), theirs.compute())


@pytest.mark.parametrize("k", [1, 2, 3])
def test_accuracy(k):
    batches = stream(5)
    theirs = peers.MulticlassAccuracy(num_classes=5, top_k=k, average="micro")
    close(fed(Accuracy(k), batches).compute(), fed(theirs, batches).compute(), 1e-7)
    scores, labels = joined(batches)
    close(fed(Accuracy(k), batches).compute(), sklearn.top_k_accuracy_score(labels, scores, k=k))


def test_confusion():
    batches = stream(5)
    ours = fed(Confusion(5), batches).compute()
    assert torch.equal(ours, fed(peers.MulticlassConfusionMatrix(num_classes=5), batches).compute())
    scores, labels = joined(batches)
    assert ours.tolist() == sklearn.confusion_matrix(labels, scores.argmax(1)).tolist()


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", "none"])
@pytest.mark.parametrize("absent", [False, True], ids=["all", "a class absent"])
def test_precision_recall_f1(average, absent):
    batches = stream(5)
    if absent:
        batches = [
            (torch.cat([scores, torch.full_like(scores[:, :1], -99)], dim=1), labels) for scores, labels in batches
        ]
    classes = 6 if absent else 5
    ours = fed(PrecisionRecallF1(classes, average), batches).compute()
    for part, name in zip(ours, ("Precision", "Recall", "F1Score")):
        peer = getattr(peers, f"Multiclass{name}")(num_classes=classes, average=average)
        close(part, fed(peer, batches).compute(), 1e-6)
    scores, labels = joined(batches)
    expected = sklearn.precision_recall_fscore_support(
        labels,
        scores.argmax(1),
        labels=range(classes) if average == "none" else None,
        average=None if average == "none" else average,
        zero_division=0,
    )
    for part, value in zip(ours, expected[:3]):
        close(part, value)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration(bins):
    batches = stream(5)
    found = fed(Calibration(bins), batches).compute()
    for value, norm in ((found.ece, "l1"), (found.mce, "max")):
        peer = peers.MulticlassCalibrationError(num_classes=5, n_bins=bins, norm=norm)
        close(value, fed(peer, batches, lambda scores: scores.softmax(1)).compute(), 1e-6)
    scores, labels = joined(batches)
    close(found.brier, sklearn.brier_score_loss(labels, scores.softmax(1), labels=range(5), scale_by_half=False))


@pytest.mark.parametrize("thresholds", [5, 64, 201])
def test_binary_curves(thresholds):
    batches = [(scores[:, 1] - scores[:, 0], labels) for scores, labels in stream(2)]
    roc = fed(ROC(thresholds=thresholds), batches).compute()
    theirs = fed(peers.BinaryAUROC(thresholds=thresholds), batches, torch.sigmoid)
    close(roc.auc, theirs.compute(), 1e-6)
    curve = fed(PrecisionRecallCurve(thresholds=thresholds), batches).compute()
    theirs = fed(peers.BinaryAveragePrecision(thresholds=thresholds), batches, torch.sigmoid)
    close(curve.average_precision, theirs.compute(), 1e-6)


def test_many_thresholds_approach_the_exact_curves():
    batches = [(scores[:, 1] - scores[:, 0], labels) for scores, labels in stream(2)]
    scores, labels = joined(batches)
    roc, curve = (fed(kind(thresholds=100_001), batches).compute() for kind in (ROC, PrecisionRecallCurve))
    close(roc.auc, sklearn.roc_auc_score(labels, scores), 2e-4)
    close(curve.average_precision, sklearn.average_precision_score(labels, scores), 2e-3)


def test_scores_on_the_thresholds_give_the_exact_curves():
    """Where every score is a threshold nothing is lost: the binned curves are scikit-learn's."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 65, (500,), generator=generator).double() / 64
    labels = (torch.rand(500, generator=generator) < 0.2 + 0.6 * scores).long()
    roc, curve = (
        fed(kind(thresholds=65, from_logits=False), [(scores, labels)]).compute()
        for kind in (ROC, PrecisionRecallCurve)
    )
    close(roc.auc, sklearn.roc_auc_score(labels, scores))
    close(curve.average_precision, sklearn.average_precision_score(labels, scores))
    false, true, thresholds = sklearn.roc_curve(labels, scores, drop_intermediate=False)
    close(roc.fpr[0], false)
    close(roc.tpr[0], true)
    assert roc.thresholds.tolist() == thresholds.tolist()
    precision, recall, _ = sklearn.precision_recall_curve(labels, scores)
    close(curve.precision[0], precision[::-1].copy())
    close(curve.recall[0], recall[::-1].copy())


def test_curves_of_many_classes():
    batches = stream(4)
    roc = fed(ROC(4, thresholds=101), batches).compute()
    theirs = peers.MulticlassAUROC(num_classes=4, thresholds=101, average="none")
    close(roc.auc_by_class, fed(theirs, batches, lambda scores: scores.softmax(1)).compute(), 1e-6)
    close(roc.auc, roc.auc_by_class.mean())
    curve = fed(PrecisionRecallCurve(4, thresholds=101), batches).compute()
    theirs = peers.MulticlassAveragePrecision(num_classes=4, thresholds=101, average="none")
    close(curve.average_precision_by_class, fed(theirs, batches, lambda scores: scores.softmax(1)).compute(), 1e-6)
