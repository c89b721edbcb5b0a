"""Tables that everyone begins with: four that come with scikit-learn, three that are looked for in the data folder.

Every registered function returns a `NamedTable`: the rows as text, as in a CSV file, and which column is to be
predicted. Files are checked against known sums.
"""

import gzip
import hashlib
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gradus.canon import canon
from gradus.data.download import cache_folder
from gradus.data.table_reading import RawTable, read_csv
from gradus.errors import GradusError

__all__ = ["NamedTable", "adult", "bike_sharing", "breast_cancer", "california_housing", "diabetes", "iris", "wine"]

IRIS = ("sepal length", "sepal width", "petal length", "petal width", "species")
WINE = (
    "alcohol", "malic acid", "ash", "alcalinity of ash", "magnesium", "total phenols", "flavanoids",
    "nonflavanoid phenols", "proanthocyanins", "color intensity", "hue", "od280/od315 of diluted wines", "proline",
    "cultivar",
)  # fmt: skip
NUCLEI = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points", "symmetry",
    "fractal dimension",
)  # fmt: skip
CANCER = (*(f"{kind} {name}" for kind in ("mean", "error of", "worst") for name in NUCLEI), "diagnosis")
DIABETES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6", "progression")
ADULT = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship", "race",
    "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income",
)  # fmt: skip
HOUSING = (
    "longitude", "latitude", "housingMedianAge", "totalRooms", "totalBedrooms", "population", "households",
    "medianIncome", "medianHouseValue",
)  # fmt: skip


@dataclass(frozen=True)
class NamedTable:
    """A table as text, with what is known about it.

    Attributes:
        raw: the rows.
        target: the column to predict; empty where nobody said.
        fingerprint: a hash of what it was read from.
        leave_out: columns that say nothing or give the target away.
        test_from: the row with which the authors' test rows begin; None where they fixed none.
    """

    raw: RawTable
    target: str
    fingerprint: str
    leave_out: tuple[str, ...] = ()
    test_from: int | None = None


@canon(
    "data/iris",
    kind="table",
    paper="Fisher 1936, The use of multiple measurements in taxonomic problems",
    names=("iris",),
)
def iris(data_dir: str | Path | None = None) -> NamedTable:
    """150 irises of three species, four measurements in centimetres; embedded (comes with scikit-learn).

    Args:
        data_dir: not looked at.

    References:
        Fisher 1936, The use of multiple measurements in taxonomic problems.
    """
    return _embedded("iris.csv", IRIS, "species")


@canon(
    "data/wine",
    kind="table",
    paper="Forina et al. 1988, PARVUS: an extendable package for data exploration, classification and correlation",
    names=("wine",),
)
def wine(data_dir: str | Path | None = None) -> NamedTable:
    """178 wines of three cultivars, 13 chemical quantities; embedded (comes with scikit-learn).

    Args:
        data_dir: not looked at.

    References:
        Forina et al. 1988, PARVUS: an extendable package for data exploration, classification and correlation.
    """
    return _embedded("wine_data.csv", WINE, "cultivar")


@canon(
    "data/breast-cancer",
    kind="table",
    paper="Street, Wolberg & Mangasarian 1993, Nuclear feature extraction for breast tumor diagnosis",
    names=("breast-cancer",),
)
def breast_cancer(data_dir: str | Path | None = None) -> NamedTable:
    """569 breast masses, malignant or benign, 30 measurements of their cell nuclei; embedded (scikit-learn).

    Args:
        data_dir: not looked at.

    References:
        Street, Wolberg & Mangasarian 1993, Nuclear feature extraction for breast tumor diagnosis.
    """
    return _embedded("breast_cancer.csv", CANCER, "diagnosis")


@canon(
    "data/diabetes",
    kind="table",
    paper="Efron et al. 2004, Least angle regression",
    names=("diabetes",),
)
def diabetes(data_dir: str | Path | None = None) -> NamedTable:
    """442 patients, ten measurements, and how far their diabetes had gone a year later; embedded (scikit-learn).

    Args:
        data_dir: not looked at.

    References:
        Efron, Hastie, Johnstone & Tibshirani 2004, Least angle regression.
    """
    inputs, outputs = (gzip.decompress(_sklearn(f"diabetes_{part}.csv.gz")) for part in ("data_raw", "target"))
    values = [line.split() for line in inputs.decode().splitlines()]
    targets = [f"{float(line):g}" for line in outputs.decode().split()]
    rows = [[*row, target] for row, target in zip(values, targets, strict=True)]
    return NamedTable(RawTable("diabetes", DIABETES, rows), "progression", _sum(inputs + outputs))


@canon(
    "data/adult",
    kind="table",
    paper="Kohavi 1996, Scaling up the accuracy of naive-Bayes classifiers: a decision-tree hybrid",
    names=("adult",),
)
def adult(data_dir: str | Path | None = None) -> NamedTable:
    """48,842 people of the census of 1994, and whether they earn more than 50,000 dollars; 16,281 are for testing.

    Args:
        data_dir: a folder to look in first.

    Raises:
        GradusError: if the files are nowhere, or not the published ones.

    References:
        Kohavi 1996, Scaling up the accuracy of naive-Bayes classifiers: a decision-tree hybrid.
    """
    sums = {"adult.data": "5d7c39d7b8804f071cdd1f2a7c460872", "adult.test": "35238206dfdf7f1fe215bbb874adecdc"}
    parts = []
    for name, expected in sums.items():
        text = _obtained("adult", name, data_dir, expected).decode()
        lines = [line.rstrip(".").split(", ") for line in text.splitlines() if line and not line.startswith("|")]
        parts.append(lines)
    return NamedTable(
        RawTable("adult", ADULT, parts[0] + parts[1]), "income", _sum("".join(sums.values()).encode()),
        test_from=len(parts[0]),
    )  # fmt: skip


@canon(
    "data/bike-sharing",
    kind="table",
    paper="Fanaee-T & Gama 2013, Event labeling combining ensemble detectors and background knowledge",
    names=("bike-sharing",),
)
def bike_sharing(data_dir: str | Path | None = None) -> NamedTable:
    """17,379 hours of bicycle hire in Washington with weather and calendar, and how many were hired.

    Args:
        data_dir: a folder to look in first.

    Raises:
        GradusError: if the file is nowhere, or is another.

    References:
        Fanaee-T & Gama 2013, Event labeling combining ensemble detectors and background knowledge.
    """
    path = _found("bike-sharing", "hour.csv", data_dir)
    return NamedTable(
        read_csv(path, header=True), "cnt", _sum(path.read_bytes()), leave_out=("instant", "casual", "registered")
    )


@canon(
    "data/california-housing",
    kind="table",
    paper="Pace & Barry 1997, Sparse spatial autoregressions",
    names=("california-housing",),
)
def california_housing(data_dir: str | Path | None = None) -> NamedTable:
    """20,640 census blocks of California in 1990, and what the median house was worth.

    Args:
        data_dir: a folder to look in first.

    Raises:
        GradusError: if the file is nowhere, or is another.

    References:
        Pace & Barry 1997, Sparse spatial autoregressions.
    """
    path = _found("california-housing", "cal_housing.data", data_dir)
    raw = read_csv(path, header=False)
    if len(raw.names) != len(HOUSING):
        raise GradusError(f"{path} has {len(raw.names)} columns, not the {len(HOUSING)} of the published file")
    return NamedTable(RawTable(raw.name, HOUSING, raw.rows, raw.lines), HOUSING[-1], _sum(path.read_bytes()))


def _embedded(file: str, names: tuple[str, ...], target: str) -> NamedTable:
    """Return one of scikit-learn's tables: counts and classes in the first line, class numbers in the last column."""
    data = _sklearn(file)
    (_, _, *classes), *rows = (line.split(",") for line in data.decode().splitlines())
    named = [[*row[:-1], classes[int(row[-1])]] for row in rows]
    return NamedTable(RawTable(file.removesuffix(".csv"), names, named), target, _sum(data))


def _sklearn(file: str) -> bytes:
    home = importlib.util.find_spec("sklearn")  # finds the package without importing it, which takes seconds
    if home is None or not home.submodule_search_locations:
        raise GradusError("this table comes with scikit-learn, which is not installed: pip install scikit-learn")
    return Path(home.submodule_search_locations[0], "datasets", "data", file).read_bytes()


def _found(name: str, file: str, data_dir: str | Path | None) -> Path:
    """Return where a file of a table lies, plain or gzipped."""
    bases = [Path(base).expanduser() for base in (data_dir, os.environ.get("GRADUS_DATA")) if base]
    folders = [folder for base in bases for folder in (base / name, base)] + [cache_folder(name)]
    found: Sequence[Path] = [f / n for f in folders for n in (file, f"{file}.gz") if (f / n).is_file()]
    if not found:
        raise GradusError(
            f"the table {name} is not on this machine: put {file} (or {file}.gz) into {folders[-1]}, or name the "
            "folder that has it with --data-dir or GRADUS_DATA"
        )
    return found[0]


def _obtained(name: str, file: str, data_dir: str | Path | None, md5: str) -> bytes:
    """Return the bytes of a published file, checked."""
    path = _found(name, file, data_dir)
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != md5:
        raise GradusError(f"{path} is not the published file of {name} (its md5 sum differs): get it anew")
    return data


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
