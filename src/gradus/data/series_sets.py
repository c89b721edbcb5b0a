"""Series that everyone begins with: a generated one with two seasons, and the hours of bicycle hire.

Every registered function returns a `NamedSeries`: the rows in the order of time, the column to forecast, the season.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import torch

from gradus.canon import canon
from gradus.data.download import PublishedFile, obtain
from gradus.data.table_reading import RawTable, read_csv

__all__ = ["NamedSeries", "bike_hours", "seasons"]

DAY, WEEK, DAYS = 24, 168, 120
HOURS = PublishedFile("hour.csv", "sha256:681bc2e64d2fbc7b00dbdb2e3470a511a7c9e944318b8298894a49b5b13ef875")


@dataclass(frozen=True)
class NamedSeries:
    """A series, with what is known about it.

    Attributes:
        raw: rows in the order of time.
        target: the column to forecast.
        season: steps after which it is likely to repeat itself.
        fingerprint: a hash of what it was read or made from.
    """

    raw: RawTable
    target: str
    season: int
    fingerprint: str


@canon(
    "data/seasons",
    kind="series",
    paper="Harvey 1989, Forecasting, structural time series models and the Kalman filter",
    names=("seasons",),
)
def seasons(data_dir: str | Path | None = None) -> NamedSeries:
    """120 days of hours with a daily and a weekly course, a slow drift and noise that lingers; generated, always alike.

    y_t = 10 + t/1000 + 3 sin(2πt/24) · w_t + 1.5 cos(4πt/24) + n_t,   n_t = 0.8 n_{t−1} + 0.4 ε_t,
    w_t = 1 on five days and 0.4 on two

    Args:
        data_dir: not looked at.

    References:
        Harvey 1989, Forecasting, structural time series models and the Kalman filter.
    """
    time = torch.arange(DAYS * DAY, dtype=torch.float64)
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(24), dtype=torch.float64).tolist()
    lingering = [0.0]
    for draw in noise[1:]:
        lingering.append(0.8 * lingering[-1] + 0.4 * draw)
    weekday = torch.where((time // DAY) % 7 < 5, 1.0, 0.4)
    course = 3 * (2 * math.pi * time / DAY).sin() * weekday + 1.5 * (4 * math.pi * time / DAY).cos()
    values = 10 + time / 1000 + course + torch.tensor(lingering, dtype=torch.float64)
    rows = [[str(int(t)), f"{value:.3f}"] for t, value in zip(time.tolist(), values.tolist(), strict=True)]
    mark = hashlib.sha256(repr(rows).encode()).hexdigest()
    return NamedSeries(RawTable("seasons", ("hour", "value"), rows), "value", DAY, mark)


@canon(
    "data/bike-hours",
    kind="series",
    paper="Fanaee-T & Gama 2013, Event labeling combining ensemble detectors and background knowledge",
    names=("bike-sharing",),
)
def bike_hours(data_dir: str | Path | None = None) -> NamedSeries:
    """17,379 hours of bicycle hire in Washington in the order of time; the season is a week.

    Hours in which nothing was hired are missing in the file, 165 of two years, and so they are here.

    Args:
        data_dir: a folder to look in first.

    Raises:
        GradusError: if the file is nowhere, or is not the published one.

    References:
        Fanaee-T & Gama 2013, Event labeling combining ensemble detectors and background knowledge.
    """
    (path,) = obtain(("bike-sharing",), (HOURS,), data_dir)
    return NamedSeries(read_csv(path, header=True), "cnt", WEEK, HOURS.sum)
