"""Series: read, refused with their row, and divided in the order of time."""

import math
import os
from pathlib import Path

import pytest
import torch

from gradus.data.series import load_series, read_series, season_of
from gradus.errors import GradusError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_parts_follow_each_other(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "t,x,y\n" + "".join(f"d{i},{i},{2 * i}\n" for i in range(100)))
    splits = load_series(str(path), val_fraction=0.1, test_fraction=0.2)
    assert splits.columns == ("y",)
    assert [splits.range(part) for part in ("train", "val", "test")] == [range(70), range(70, 80), range(80, 100)]
    assert splits.train[:, 0].tolist() == [2.0 * i for i in range(70)]
    splits = load_series(str(path), target="x", covariates=("y",), limit=50)
    assert splits.columns == ("x", "y")
    assert splits.values[0].tolist() == [50.0, 100.0]


@pytest.mark.parametrize(
    ("text", "options", "match"),
    [
        ("t,y\na,1\nb,?\n", {"target": "y"}, r"a\.csv, row 2 \(line 3\): '\?' in column 'y' is no number"),
        ("t,y\na,1\nb,nan\n", {"target": "y"}, "'nan' in column 'y'"),
        ("t,y\na,1\nb,2\n", {"target": "z"}, "no column 'z'"),
        ("t,u\na,b\nb,c\n", {}, "no column of numbers"),
        ("t,y\na,1\nb,2\n", {"target": "y", "covariates": ("y",)}, "named twice"),
        ("t,y\na,1\nb,2\n", {"val_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train on"),
        ("t,y\na,1\nb,2\n", {"val_fraction": 0.5}, "give a longer series"),
    ],
)
def test_what_cannot_be_used_is_told(tmp_path: Path, text: str, options: dict, match: str) -> None:
    with pytest.raises(GradusError, match=match):
        load_series(str(write(tmp_path / "a.csv", text)), **options)


def test_unknown_data() -> None:
    with pytest.raises(GradusError, match="did you mean 'seasons'"):
        load_series("season")


def test_reading_what_is_to_go_on(tmp_path: Path) -> None:
    assert read_series(write(tmp_path / "a.csv", "z,y\n1,2\n3,4\n"), ["y", "z"]).tolist() == [[2.0, 1.0], [4.0, 3.0]]
    assert read_series(write(tmp_path / "b.csv", "other\n1\n2\n"), ["y"]).tolist() == [[1.0], [2.0]]


def test_seasons_are_found() -> None:
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(600, dtype=torch.float64)
    noise = 0.1 * torch.randn(600, generator=generator, dtype=torch.float64)
    for season in (4, 7, 12, 24):
        assert season_of((2 * math.pi * time / season).sin() + 0.01 * time + noise) == season
    assert season_of(torch.randn(600, generator=generator, dtype=torch.float64).cumsum(0)) == 1
    assert season_of(torch.zeros(50)) == 1
    assert load_series("seasons").season == 24


@pytest.mark.skipif(not os.environ.get("GRADUS_DATA"), reason="the file is not here")
def test_the_hours_of_bicycle_hire() -> None:
    splits = load_series("bike-sharing")
    assert len(splits.values) == 17_379
    assert (splits.columns, splits.season) == (("cnt",), 168)
    assert int(splits.values.sum()) == 3_292_679
