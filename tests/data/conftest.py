"""What the tests of data stand on: small image folders made on the spot, and the real data where it is at hand."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def data_dir() -> Path:
    """The folder with the real data sets; the test is skipped where there is none."""
    folder = Path(os.environ.get("GRADUS_DATA") or SHARED)
    if not (folder / "mnist").is_dir():
        pytest.skip("no real data: set GRADUS_DATA to a folder that has mnist/")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of different little photos: `photos(counts={"cat": 5}, size=(24, 32), split="train")`."""

    def make(
        counts: dict[str, int], size: tuple[int, int] = (24, 24), split: str = "", mode: str = "RGB", kind: str = "png"
    ) -> Path:
        root = tmp_path / "photos"
        for label, count in counts.items():
            folder = root / split / label
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                numbers = np.random.default_rng([i, *f"{split}/{label}".encode()])
                shape = (*size, 3) if mode == "RGB" else size
                pixels = numbers.integers(0, 256, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i:03}.{kind}")
        return root

    return make
