"""Streaming metrics: update with batches of any size, in bounded memory, without waiting for the device.

    metric.update(scores, labels)   metric.compute()   metric.merge(other)   metric.reset()

Every metric is a sum over samples of a statistic of fixed size, so metrics of parts of a stream merge by addition.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Accuracy": "accuracy",
    "Calibration": "calibration",
    "Confusion": "confusion",
    "Mean": "mean",
    "Metric": "metric",
    "PrecisionRecallCurve": "ranking",
    "PrecisionRecallF1": "precision_recall_f1",
    "ROC": "ranking",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
