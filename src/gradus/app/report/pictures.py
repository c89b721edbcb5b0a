"""Images and attributions as pictures: PNG bytes, data URIs, and overlays that stay readable without colour.

    overlay = (1 − α) · grey(x) + α · colour(sign a),      α = min(|a| / q₉₉(|a|), 1)^0.7

What speaks for the class is orange, what speaks against it blue; the image beneath is grey and pale, so that neither
colour can be taken for the image's own.
"""

import base64
import io
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gradus.errors import GradusError

__all__ = ["Pictures", "amplified", "beside", "data_uri", "enlarged", "overlay", "pixels", "png", "write_png"]

FOR = (213, 94, 0)
AGAINST = (0, 114, 178)
SHOWN_SIDE = 224

Pixels = UInt8[np.ndarray, "height width colours"]


def pixels(image: Float[Tensor, "channels height width"]) -> Pixels:
    """Return an image in [0, 1] as RGB bytes."""
    bytes_ = (image.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    return bytes_.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()


def overlay(image: Float[Tensor, "channels height width"], attribution: Float[Tensor, "depth height width"]) -> Pixels:
    """Return an image with its attribution laid over it.

    Args:
        image: in [0, 1].
        attribution: signed; its channels are summed. Its scale does not matter: the 99th percentile is full colour.
    """
    weight = attribution.detach().float().cpu().sum(0)
    size = weight.abs()
    limit = torch.quantile(size.flatten(), 0.99) if size.numel() < 2**24 else size.max()
    alpha = (size / limit.clamp_min(1e-12)).clamp(max=1).pow(0.7).unsqueeze(2) * 0.92
    grey = image.detach().float().cpu().clamp(0, 1).mean(0).mul(0.5).add(0.45).unsqueeze(2) * 255
    colour = torch.where(weight.unsqueeze(2) > 0, torch.tensor(FOR), torch.tensor(AGAINST)).float()
    return ((1 - alpha) * grey + alpha * colour).round().to(torch.uint8).numpy()


def amplified(change: Float[Tensor, "channels height width"], eps: float) -> Pixels:
    """Return a perturbation around middle grey, its largest allowed value at full contrast."""
    return pixels(change / (2 * max(eps, 1e-12)) + 0.5)


def enlarged(image: Pixels, side: int = SHOWN_SIDE) -> UInt8[np.ndarray, "rows columns colours"]:
    """Return a small image with every pixel repeated until the shorter side is about `side`."""
    times = max(1, round(side / min(image.shape[:2])))
    return image.repeat(times, axis=0).repeat(times, axis=1)


def beside(*images: UInt8[np.ndarray, "height _ colours"], gap: int = 8) -> UInt8[np.ndarray, "height _ colours"]:
    """Return images of one height in a row on white."""
    space = np.full((images[0].shape[0], gap, 3), 255, np.uint8)
    parts = [part for image in images for part in (space, image)][1:]
    return np.concatenate(parts, axis=1)


def png(image: UInt8[np.ndarray, "..."]) -> bytes:
    """Return an image, grey or RGB, as the bytes of a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def write_png(path: Path, image: UInt8[np.ndarray, "..."]) -> None:
    """Write an image, grey or RGB, as a PNG file that appears whole or not at all."""
    from gradus.engine.folder import write_atomically

    write_atomically(path, png(image))


def data_uri(image: Pixels) -> str:
    """Return an image as a `data:` address, so that a page needs no second file."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


class Pictures:
    """A folder of pictures, each with a name of its own.

    Args:
        folder: made when missing.

    Raises:
        GradusError: if it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GradusError(f"--out {folder}: the folder cannot be made ({error.strerror})") from None
        self.folder = folder
        self.taken: set[str] = set()

    def write(self, name: str, ending: str, image: UInt8[np.ndarray, "..."]) -> Path:
        """Write a picture called after its input; return where."""
        stem = first = f"{Path(name).stem}-{ending}"
        number = 1
        while stem in self.taken:
            number += 1
            stem = f"{first}-{number}"
        self.taken.add(stem)
        path = self.folder / f"{stem}.png"
        try:
            write_png(path, image)
        except OSError as error:
            raise GradusError(f"{path} cannot be written ({error.strerror}): see --out") from None
        return path
