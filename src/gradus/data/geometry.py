"""Geometry of batches of images: flips, crops and affine maps, each image with its own.

An affine map is a 3×3 matrix M acting on (x, y, 1), pixels from the image's centre, x to the right and y down; it says
where content goes: what is at p is shown at M p. Maps compose by multiplication, so that any chain of them costs one
interpolation; the same matrices move boxes, points and masks.

References:
    Jaderberg et al. 2015, Spatial transformer networks (sampling on a grid).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

__all__ = [
    "crop",
    "flip",
    "flipping",
    "rotate",
    "rotation",
    "scale",
    "scaling",
    "shear",
    "shearing",
    "translate",
    "translation",
    "vflip",
    "warp",
]

Images = Float[Tensor, "batch channels height width"]
Each = float | Float[Tensor, " batch"]
Maps = Float[Tensor, "batch 3 3"]


def flip(images: Images) -> Images:
    """Return the images mirrored left to right."""
    return images.flip(3)


def vflip(images: Images) -> Images:
    """Return the images mirrored top to bottom."""
    return images.flip(2)


def crop(images: Images, top: Int64[Tensor, " batch"], left: Int64[Tensor, " batch"], padding: int) -> Images:
    """Return a window of each image's size, cut out of the image padded with zeros: one gather, no interpolation.

    Args:
        images: the batch.
        top: rows between the padded image's upper edge and the window's, 0 to 2·padding.
        left: the same for columns.
        padding: zeros on every side, in pixels.
    """
    height, width = images.shape[2:]
    # Windows are a view of the padded images with two more axes; picking one of each copies it once, layout kept.
    windows = F.pad(images.permute(0, 2, 3, 1), (0, 0, *(padding,) * 4)).unfold(1, height, 1).unfold(2, width, 1)
    places = torch.arange(len(images), device=images.device)
    return windows.permute(0, 1, 2, 4, 5, 3)[places, top, left].permute(0, 3, 1, 2)


def rotate(images: Images, degrees: Each) -> Images:
    """Return the images rotated counter-clockwise about their centres; zeros come in at the corners.

    Args:
        images: the batch.
        degrees: the angle, one for all or one for each.
    """
    return warp(images, rotation(_each(degrees, images)))


def shear(images: Images, degrees: Each) -> Images:
    """Return the images sheared along x: rows shift in proportion to their height above the centre.

    Args:
        images: the batch.
        degrees: the angle by which verticals tilt, one for all or one for each.
    """
    return warp(images, shearing(_each(degrees, images)))


def scale(images: Images, factor: Each) -> Images:
    """Return the images enlarged about their centres by a factor, one for all or one for each."""
    return warp(images, scaling(_each(factor, images)))


def translate(images: Images, right: Each, down: Each) -> Images:
    """Return the images moved by pixels to the right and down; zeros come in at the edges."""
    return warp(images, translation(_each(right, images), _each(down, images)))


def rotation(degrees: Float[Tensor, " batch"]) -> Maps:
    """Return the maps that rotate counter-clockwise."""
    angle = torch.deg2rad(degrees)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return _maps(cos, sin, zero, -sin, cos, zero)


def shearing(degrees: Float[Tensor, " batch"]) -> Maps:
    """Return the maps that shear along x."""
    one, zero = torch.ones_like(degrees), torch.zeros_like(degrees)
    return _maps(one, -torch.deg2rad(degrees).tan(), zero, zero, one, zero)


def scaling(factor: Float[Tensor, " batch"]) -> Maps:
    """Return the maps that enlarge."""
    zero = torch.zeros_like(factor)
    return _maps(factor, zero, zero, zero, factor, zero)


def translation(right: Float[Tensor, " batch"], down: Float[Tensor, " batch"]) -> Maps:
    """Return the maps that move by pixels."""
    one, zero = torch.ones_like(right), torch.zeros_like(right)
    return _maps(one, zero, right, zero, one, down)


def flipping(x: Float[Tensor, " batch"], y: Float[Tensor, " batch"]) -> Maps:
    """Return the maps that mirror an axis where its sign is −1."""
    zero = torch.zeros_like(x)
    return _maps(x, zero, zero, zero, y, zero)


def warp(images: Images, maps: Maps, mode: str = "bilinear", padding: str = "zeros") -> Images:
    """Return the images moved by affine maps, interpolated once.

    Args:
        images: the batch.
        maps: where content goes, one for each image.
        mode: "bilinear", "bicubic", or "nearest" for masks.
        padding: what comes in from outside: "zeros", "border" or "reflection".
    """
    height, width = images.shape[2:]
    a, b, c, d, e, f = maps[:, :2].reshape(-1, 6).unbind(1)
    area = a * e - b * d
    # grid_sample wants the inverse map, in units of half the width and height; written out, since F.affine_grid's
    # product of matrices with an inner size of three takes many times longer.
    x, y = _centres(width, images)[None, None, :], _centres(height, images)[None, :, None]
    back = torch.stack((e, -b, b * f - e * c, -d, a, d * c - a * f), 1) / area[:, None]
    a, b, c, d, e, f = back[:, :, None, None].unbind(1)
    grid = images.new_empty((len(images), height, width, 2))
    grid[..., 0] = (a * x + c) * (2 / width) + b * y * (2 / width)
    grid[..., 1] = d * x * (2 / height) + (e * y + f) * (2 / height)
    return F.grid_sample(images, grid, mode=mode, padding_mode=padding, align_corners=False)


def _maps(*entries: Float[Tensor, " batch"]) -> Maps:
    """Return matrices of the six entries of their upper two rows."""
    one, zero = torch.ones_like(entries[0]), torch.zeros_like(entries[0])
    return torch.stack((*entries, zero, zero, one), 1).view(-1, 3, 3)


def _centres(length: int, images: Images) -> Float[Tensor, " length"]:
    """Return the places of pixels along an axis, from the middle of the image."""
    return torch.arange(length, device=images.device, dtype=images.dtype) - (length - 1) / 2


def _each(value: Each, images: Images) -> Float[Tensor, " batch"]:
    return torch.as_tensor(value, dtype=images.dtype, device=images.device).expand(len(images))
