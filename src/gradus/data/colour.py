"""Colour and surface of batches of images in [0, 1]: each image with its own strength; results stay in [0, 1].

Brightness, contrast and saturation are x' = m + f·(x − m), with m zero, the image's mean grey, or each pixel's grey.
Hue turns the HSV hexagon by a fraction of a full turn; noise adds; erasing puts zeros into a rectangle.

References:
    Smith 1978, Color gamut transform pairs (HSV); ITU-R BT.601 (the weights of grey).
    DeVries & Taylor 2017, Improved regularization of convolutional neural networks with cutout (erasing).
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

__all__ = ["brightness", "contrast", "erase", "grey", "hue", "saturation"]

Images = Float[Tensor, "batch channels height width"]
Each = float | Float[Tensor, " batch"]
WEIGHTS = (0.299, 0.587, 0.114)


def grey(images: Images) -> Float[Tensor, "batch 1 height width"]:
    """Return the luma of colour images, and grey images as they are."""
    if images.shape[1] != 3:
        return images[:, :1]
    red, green, blue = images.contiguous().split(1, 1)  # planes that are apart in memory are quicker
    return WEIGHTS[0] * red + WEIGHTS[1] * green + WEIGHTS[2] * blue


def brightness(images: Images, factor: Each) -> Images:
    """Return the images made brighter by a factor, one for all or one for each."""
    return (images * _each(factor, images)).clamp_(0, 1)


def contrast(images: Images, factor: Each) -> Images:
    """Return the images with distances from their mean grey multiplied by a factor."""
    images = images.contiguous()
    mean = grey(images).flatten(1).mean(1).view(-1, 1, 1, 1)
    return (images - mean).mul_(_each(factor, images)).add_(mean).clamp_(0, 1)


def saturation(images: Images, factor: Each) -> Images:
    """Return the images with distances from each pixel's grey multiplied by a factor; 0 is grey."""
    if images.shape[1] != 3:
        return images
    images = images.contiguous()
    pale = grey(images)
    return (images - pale).mul_(_each(factor, images)).add_(pale).clamp_(0, 1)


def hue(images: Images, turn: Each) -> Images:
    """Return the images with their hue turned by a fraction of the colour circle.

    With V = max(R, G, B), C = V − min(R, G, B) and H in sixths of the circle, the turned channels are
    V − C·clamp(min(k, 4 − k), 0, 1), k = (n + H + 6·turn) mod 6, for n = 5, 3, 1.

    Args:
        images: the batch.
        turn: −0.5 to 0.5, one for all or one for each.
    """
    if images.shape[1] != 3:
        return images
    red, green, blue = images.contiguous().split(1, 1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    inverse = torch.where(chroma > 0, chroma, 1).reciprocal_()
    sixths = torch.where(
        red == value,
        (green - blue) * inverse,
        torch.where(green == value, (blue - red) * inverse + 2, (red - green) * inverse + 4),
    )
    turned = sixths.add_(6 * _each(turn, images))
    channels = []
    for offset in (5, 3, 1):
        k = turned + offset
        k = k.sub_((k / 6).floor_(), alpha=6)  # k mod 6; the remainder operator is many times slower
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1))
    return torch.cat(channels, 1)


def erase(images: Images, top: Int64[Tensor, " batch"], left: Int64[Tensor, " batch"], side: int) -> Images:
    """Return the images with a square of zeros in each; what lies outside the image is not drawn.

    Args:
        images: the batch.
        top: first row of the square.
        left: first column.
        side: of the square, in pixels.
    """
    rows = torch.arange(images.shape[2], device=images.device) - top[:, None]
    columns = torch.arange(images.shape[3], device=images.device) - left[:, None]
    inside = ((rows >= 0) & (rows < side))[:, None, :, None] & ((columns >= 0) & (columns < side))[:, None, None, :]
    return images.masked_fill(inside, 0)


def _each(value: Each, images: Images) -> Tensor:
    return torch.as_tensor(value, dtype=images.dtype, device=images.device).reshape(-1, 1, 1, 1)
