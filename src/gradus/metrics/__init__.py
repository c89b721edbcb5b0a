"""Streaming metrics: update with batches of any size, in bounded memory, without waiting for the device.

    metric.update(scores, labels)   metric.compute()   metric.merge(other)   metric.reset()

Every metric is a sum over samples of a statistic of fixed size, so metrics of parts of a stream merge by addition.
"""

from gradus.lazy import attach

__all__ = [
    "Accuracy",
    "BitsPerDimension",
    "BLEU",
    "box_overlap",
    "Calibration",
    "CentroidSilhouette",
    "Confusion",
    "Exploitability",
    "frechet_distance",
    "FrechetDistance",
    "InceptionScore",
    "IntersectionOverUnion",
    "kernel_distance",
    "MatrixGame",
    "Mean",
    "MeanAveragePrecision",
    "Metric",
    "nash_conv",
    "paired",
    "Perplexity",
    "PrecisionRecallCurve",
    "PrecisionRecallF1",
    "ROC",
    "silhouettes",
    "student",
    "student_quantile",
    "welch",
    "wilson",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "accuracy": ("Accuracy",),
        "bleu": ("BLEU",),
        "calibration": ("Calibration",),
        "confusion": ("Confusion",),
        "exploitability": ("Exploitability", "MatrixGame", "nash_conv"),
        "frechet": ("FrechetDistance", "frechet_distance", "kernel_distance"),
        "inception_score": ("InceptionScore",),
        "intersection_over_union": ("IntersectionOverUnion",),
        "intervals": ("paired", "student", "student_quantile", "welch", "wilson"),
        "mean": ("Mean",),
        "mean_average_precision": ("MeanAveragePrecision", "box_overlap"),
        "metric": ("Metric",),
        "perplexity": ("BitsPerDimension", "Perplexity"),
        "precision_recall_f1": ("PrecisionRecallF1",),
        "ranking": ("PrecisionRecallCurve", "ROC"),
        "silhouette": ("CentroidSilhouette", "silhouettes"),
    },
)
