"""Streaming metrics: update with batches of any size, in bounded memory, without waiting for the device.

    metric.update(scores, labels)   metric.compute()   metric.merge(other)   metric.reset()

Every metric is a sum over samples of a statistic of fixed size, so metrics of parts of a stream merge by addition.
"""

from gradus.lazy import attach

__all__ = ["Accuracy", "Calibration", "Confusion", "Mean", "Metric", "PrecisionRecallCurve", "PrecisionRecallF1", "ROC"]

__getattr__, __dir__ = attach(
    __name__,
    {
        "accuracy": ("Accuracy",),
        "calibration": ("Calibration",),
        "confusion": ("Confusion",),
        "mean": ("Mean",),
        "metric": ("Metric",),
        "precision_recall_f1": ("PrecisionRecallF1",),
        "ranking": (
            "PrecisionRecallCurve",
            "ROC",
        ),
    },
)
