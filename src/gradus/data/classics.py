"""The data sets that everyone begins with, in their official files and splits.

Every registered function returns an `Original`: all images in one store, their labels, the rows of the splits that the
authors fixed. Files are checked against the published sums; none needs pickle.
"""

import gzip
import hashlib
import importlib.util
import io
import itertools
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor

from gradus.canon import canon
from gradus.data.decode import THREADS
from gradus.data.download import Progress, PublishedFile, digest, obtain
from gradus.data.images import Memory
from gradus.errors import GradusError

__all__ = ["Original", "cifar10", "cifar10_jpeg", "digits", "fashion_mnist", "mnist", "read_idx"]

MNIST_HOSTS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
MNIST_SUMS = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
FASHION_HOSTS = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)
FASHION_SUMS = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
CIFAR10 = PublishedFile(
    "cifar-10-binary.tar.gz",
    "md5:c32a1d4ab5d03f1284b67883e8d87530",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)
CIFAR10_JPEG = PublishedFile(
    "cifar10_jpeg_full.npz", "sha256:8215321b05bfc8d3228efeaa34aebce11d18d5e23312f50a2768e92610feeceb"
)
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TEN = tuple("0123456789")


@dataclass(frozen=True)
class Original:
    """A published data set.

    Attributes:
        pixels: all images.
        labels: class of each.
        classes: names of the classes.
        parts: rows of the splits that its authors fixed; only "train" where they fixed none.
        fingerprint: a hash of the files it was read from.
    """

    pixels: Memory
    labels: Int64[Tensor, " count"]
    classes: tuple[str, ...]
    parts: dict[str, Int64[Tensor, " part"]]
    fingerprint: str


@canon(
    "data/digits",
    kind="dataset",
    paper="Alpaydin & Kaynak 1998, Optical recognition of handwritten digits (UCI)",
    names=("digits",),
)
def digits(data_dir: str | Path | None = None, progress: Progress | None = None) -> Original:
    """1,797 handwritten digits of 8×8 pixels and 17 greys, embedded: the file comes with scikit-learn.

    Args:
        data_dir: not looked at.
        progress: not called.

    Returns:
        The images without fixed splits, greys scaled from 0…16 to 0…255.

    Raises:
        GradusError: if scikit-learn is not installed.

    References:
        Alpaydin & Kaynak 1998, Optical recognition of handwritten digits, UCI machine learning repository.
    """
    home = importlib.util.find_spec("sklearn")  # finds the package without importing it, which takes seconds
    if home is None or not home.submodule_search_locations:
        raise GradusError("the digits come with scikit-learn, which is not installed: pip install scikit-learn")
    path = Path(home.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    with gzip.open(path) as file:
        table = np.array(file.read().replace(b"\n", b",").rstrip(b",").split(b","), dtype=np.float64).reshape(-1, 65)
    images = torch.from_numpy(np.rint(table[:, :64] * (255 / 16)).astype(np.uint8)).view(-1, 8, 8, 1)
    labels = torch.from_numpy(table[:, 64].astype(np.int64))
    return Original(Memory(images), labels, TEN, {"train": torch.arange(len(labels))}, digest(path))


@canon(
    "data/mnist",
    kind="dataset",
    paper="LeCun et al. 1998, Gradient-based learning applied to document recognition",
    names=("mnist",),
)
def mnist(data_dir: str | Path | None = None, progress: Progress | None = None) -> Original:
    """70,000 handwritten digits of 28×28 greys: 60,000 to train, 10,000 to test.

    Args:
        data_dir: a folder to look in first.
        progress: called with (file, bytes so far, bytes in all) during a download.

    Returns:
        The images with their official test split.

    Raises:
        GradusError: if the files are nowhere, not downloadable or not the published ones.

    References:
        LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document recognition.
    """
    return _idx_set("mnist", MNIST_SUMS, MNIST_HOSTS, TEN, data_dir, progress)


@canon(
    "data/fashion-mnist",
    kind="dataset",
    paper="Xiao, Rasul & Vollgraf 2017, Fashion-MNIST: a novel image dataset for benchmarking",
    names=("fashion-mnist",),
)
def fashion_mnist(data_dir: str | Path | None = None, progress: Progress | None = None) -> Original:
    """70,000 pieces of clothing of 28×28 greys in 10 classes: 60,000 to train, 10,000 to test.

    Args:
        data_dir: a folder to look in first.
        progress: called with (file, bytes so far, bytes in all) during a download.

    Returns:
        The images with their official test split.

    Raises:
        GradusError: if the files are nowhere, not downloadable or not the published ones.

    References:
        Xiao, Rasul & Vollgraf 2017, Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms.
    """
    return _idx_set("fashion-mnist", FASHION_SUMS, FASHION_HOSTS, FASHION_CLASSES, data_dir, progress)


@canon(
    "data/cifar10",
    kind="dataset",
    paper="Krizhevsky 2009, Learning multiple layers of features from tiny images",
    names=("cifar10",),
)
def cifar10(data_dir: str | Path | None = None, progress: Progress | None = None) -> Original:
    """60,000 colour photos of 32×32 pixels in 10 classes: 50,000 to train, 10,000 to test (the binary version).

    Args:
        data_dir: a folder to look in first.
        progress: called with (file, bytes so far, bytes in all) during a download.

    Returns:
        The images with their official test split.

    Raises:
        GradusError: if the file is nowhere, not downloadable or not the published one.

    References:
        Krizhevsky 2009, Learning multiple layers of features from tiny images.
    """
    (path,) = obtain(["cifar10"], [CIFAR10], data_dir, progress)
    with tarfile.open(path, "r:gz") as archive:
        held = {Path(m.name).name: file.read() for m in archive if (file := archive.extractfile(m)) is not None}
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    records = np.frombuffer(b"".join(held[name] for name in names), np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return _official(np.ascontiguousarray(images), records[:, 0], 50_000, CIFAR10_CLASSES, CIFAR10.sum)


@canon(
    "data/cifar10-jpeg",
    kind="dataset",
    paper="Krizhevsky 2009, Learning multiple layers of features from tiny images",
    names=("cifar10-jpeg",),
)
def cifar10_jpeg(data_dir: str | Path | None = None, progress: Progress | None = None) -> Original:
    """A lossy copy of CIFAR-10 (JPEG, quality 75): accuracies are not comparable with published ones.

    Args:
        data_dir: a folder to look in first.
        progress: not called; there is no download.

    Returns:
        The images with their official test split.

    Raises:
        GradusError: if the file is not on this machine, or not the known one.

    References:
        Krizhevsky 2009, Learning multiple layers of features from tiny images.
    """
    (path,) = obtain(["cifar10-jpeg", "cifar10"], [CIFAR10_JPEG], data_dir, progress)
    with np.load(path, allow_pickle=False) as held:
        files = [held[f"{part}_jpeg"] for part in ("train", "test")]
        offsets = [held[f"{part}_offsets"] for part in ("train", "test")]
        labels = [held[f"{part}_labels"] for part in ("train", "test")]
    streams = [data[a:b].tobytes() for data, marks in zip(files, offsets) for a, b in itertools.pairwise(marks)]
    images = np.empty((len(streams), 32, 32, 3), np.uint8)
    with ThreadPoolExecutor(THREADS) as pool:
        for i, image in enumerate(pool.map(_rgb, streams, chunksize=256)):
            images[i] = image
    return _official(images, np.concatenate(labels), len(labels[0]), CIFAR10_CLASSES, CIFAR10_JPEG.sum)


def read_idx(path: Path) -> UInt8[np.ndarray, "..."]:
    """Return the array in a gzipped IDX file of bytes: 0, 0, 8, rank, big-endian sizes, data.

    Raises:
        GradusError: if the file is something else.
    """
    try:
        with gzip.open(path) as file:
            data = file.read()
        rank = data[3]
        shape = np.frombuffer(data, ">u4", rank, 4)
        assert data[:3] == b"\0\0\x08", "the magic number is wrong"
        return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError, AssertionError) as error:
        raise GradusError(f"{path} is not a gzipped IDX file of bytes ({error}): get it anew") from error


def _rgb(stream: bytes) -> UInt8[np.ndarray, "height width 3"]:
    with Image.open(io.BytesIO(stream)) as image:
        return np.asarray(image.convert("RGB"))


def _idx_set(
    name: str,
    sums: dict[str, str],
    hosts: tuple[str, ...],
    classes: tuple[str, ...],
    data_dir: str | Path | None,
    progress: Progress | None,
) -> Original:
    files = [
        PublishedFile(file, f"sha256:{expected}", tuple(host + file for host in hosts))
        for file, expected in sums.items()
    ]
    train, train_labels, test, test_labels = map(read_idx, obtain([name], files, data_dir, progress))
    images = np.concatenate([train, test])[..., None]
    return _official(images, np.concatenate([train_labels, test_labels]), len(train), classes, "".join(sums.values()))


def _official(
    images: UInt8[np.ndarray, "count height width channels"],
    labels: np.ndarray,
    trained_on: int,
    classes: tuple[str, ...],
    sums: str,
) -> Original:
    rows = torch.arange(len(images))
    return Original(
        Memory(torch.from_numpy(images)),
        torch.from_numpy(labels.astype(np.int64)),
        classes,
        {"train": rows[:trained_on], "test": rows[trained_on:]},
        hashlib.sha256(sums.encode()).hexdigest(),
    )
