"""`load_series`: columns of numbers in the order of time, from a registered set or a CSV file; divided by time.

    train | val | test        the oldest values are learned from, the newest are tested on, and nothing is shuffled

Every value of val or test is later than every value of train. What is forecast in a part may look back into the part
before it, as it could in use; nothing looks forward.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gradus import canon
from gradus.data.named import named, path_of
from gradus.data.series_sets import NamedSeries
from gradus.data.table_reading import RawTable, read_csv
from gradus.errors import GradusError, nearest

__all__ = ["SeriesSplits", "load_series", "read_series"]

Values = Float[Tensor, "time columns"]


@dataclass(frozen=True)
class SeriesSplits:
    """A series, divided in the order of time.

    Attributes:
        values: all of it; the target is the first column.
        columns: their names.
        bounds: where val begins, where test begins, and where it ends.
        season: steps after which it is likely to repeat itself.
        name: of the data.
        fingerprint: of its contents and what of it is used.
    """

    values: Values
    columns: tuple[str, ...]
    bounds: tuple[int, int, int]
    season: int
    name: str
    fingerprint: str

    @property
    def train(self) -> Values:
        """What is learned from."""
        return self.values[: self.bounds[0]]

    def range(self, part: str) -> range:
        """Return which steps belong to `train`, `val` or `test`."""
        val, test, end = self.bounds
        return {"train": range(val), "val": range(val, test), "test": range(test, end)}[part]


def load_series(
    data: str,
    *,
    target: str | None = None,
    covariates: Sequence[str] = (),
    season: int | None = None,
    data_dir: str | Path | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    limit: int | None = None,
) -> SeriesSplits:
    """Return a registered series, or columns of a CSV file whose rows are in the order of time.

    Args:
        data: a registered name, or a path; a name wins, `./name` is always a path.
        target: the column to forecast; a registered series knows its own, of a file it is the only or last one of
            numbers.
        covariates: further columns to look back at.
        season: steps after which the series is likely to repeat itself; found out when left out.
        data_dir: where to look first for the files of a registered series.
        val_fraction: share of the steps for val.
        test_fraction: the same for test.
        limit: use the last steps only, at most this many.

    Raises:
        GradusError: if there is no such data or column, or a value is no number, naming the row.
    """
    if val_fraction + test_fraction >= 1:
        raise GradusError(
            f"the fractions (val {val_fraction:g}, test {test_fraction:g}) leave nothing to train on: they must sum to "
            "less than 1"
        )
    entry = named(data, "series")
    if entry is not None:
        found: NamedSeries = canon.load(entry)(data_dir)
        raw, usual, mark = found.raw, found.target, found.fingerprint
        season = season or found.season
    else:
        path = path_of(data, "series", canon.names("series"))
        raw = read_csv(path)
        usual, mark = None, hashlib.sha256(path.read_bytes()).hexdigest()
    names = (target or usual or _only_numbers(raw), *covariates)
    if len(set(names)) < len(names):
        raise GradusError(f"a column is named twice ({', '.join(names)}): the target is looked back at anyway")
    values = _numbers(raw, names)
    values = values if limit is None else values[-limit:]
    count = len(values)
    test = count - round(test_fraction * count)
    val = test - round(val_fraction * count)
    if val < 2:
        raise GradusError(f"{raw.name} has {count} steps, of which {val} are left to train on: give a longer series")
    season = season or season_of(values[:val, 0])
    told = f"{mark}/{names}/{count}/{val}/{test}"
    return SeriesSplits(
        values, names, (val, test, count), season, Path(data).name, hashlib.sha256(told.encode()).hexdigest()
    )


def read_series(path: str | Path, columns: Sequence[str]) -> Values:
    """Return columns of a CSV file.

    Args:
        path: of the file.
        columns: their names; where the file has one column only, that one.

    Raises:
        GradusError: if a column is missing, or a value is no number, naming the row.
    """
    path = Path(path).expanduser()
    raw = read_csv(path)
    if len(columns) == 1 and len(raw.names) == 1:
        columns = raw.names
    return _numbers(raw, columns)


def season_of(values: Float[Tensor, " time"], most: int = 400) -> int:
    """Return after how many steps a series is most like itself: the first high peak of its autocorrelation, or 1.

    r_k = Σ_t x_t x_{t+k} / Σ_t x_t²,   of the series less its mean and line; a peak counts where the differences, too,
    are more like themselves after k steps than white noise would be

    Args:
        values: in the order of time.
        most: longest season looked for.
    """
    lags = min(most, len(values) // 3)
    if lags < 2:
        return 1
    time = torch.linspace(-1, 1, len(values), dtype=values.dtype)
    level = values - values.mean()
    r = _autocorrelation(level - time * (time @ level / time.square().sum()), lags + 2)
    steps = _autocorrelation(values.diff(), lags + 2)
    inner = torch.arange(2, lags + 1)
    peaks = inner[(r[inner] > r[inner - 1]) & (r[inner] >= r[inner + 1]) & (r[inner] > 0)]
    peaks = peaks[steps[peaks] > 4 / math.sqrt(len(values))]  # of hundreds of lags of white noise none is so high
    if not len(peaks):
        return 1
    # Multiples of a season are nearly as high: the first one near the highest.
    return int(peaks[r[peaks] >= 0.9 * r[peaks].max()][0])


def _autocorrelation(x: Tensor, lags: int) -> Tensor:
    """Return the autocorrelation up to a lag; zeros of a series that does not change."""
    x = x - x.mean()
    power = torch.fft.rfft(x, n=2 * len(x)).abs().square()
    found = torch.fft.irfft(power, n=2 * len(x))[:lags]
    scale = float(x.square().sum())
    return found / scale if scale > 1e-20 * len(x) else torch.zeros_like(found)


def _numbers(raw: RawTable, names: Sequence[str]) -> Values:
    """Return columns as numbers."""
    columns = []
    for name in names:
        if name not in raw.names:
            raise GradusError(f"{raw.name} has no column {name!r}{nearest(name, raw.names)}")
        columns.append([_number(text, raw, row, name) for row, text in enumerate(raw.column(name))])
    return torch.tensor(columns, dtype=torch.float64).mT.contiguous()


def _number(text: str, raw: RawTable, row: int, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise GradusError(f"{raw.where(row)}: {text!r} in column {name!r} is no number: fill in or leave out such rows")
    return value


def _only_numbers(raw: RawTable) -> str:
    """Return the column to forecast where nobody said: the last one of numbers."""
    found = [name for name in raw.names if all(_is_number(text) for text in raw.column(name))]
    if not found:
        raise GradusError(f"{raw.name} has no column of numbers only: name one with --target to see what is wrong")
    return found[-1]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
