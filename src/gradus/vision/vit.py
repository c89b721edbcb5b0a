"""The Vision Transformer: patches are words.

    tokens = [class, W patch₁, …, W patchₙ] + positions;  L pre-norm Transformer blocks;  logits = head(norm(token₀))

    name     width   heads   weights at 1000 classes, 224 pixels, patches of 16
    vit_ti   192     3        5,717,416
    vit_s    384     6       22,050,664
    vit_b    768     12      86,567,656

References:
    Dosovitskiy et al. 2021, An image is worth 16×16 words.
    Touvron et al. 2021, Training data-efficient image transformers (the Ti and S forms).
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.nn.chain import chain
from gradus.nn.classifier import Classifier
from gradus.nn.initialisation import initialise, small_normal
from gradus.nn.transformer import TransformerBlock

__all__ = ["FORMS", "TokenTrunk", "interpolate_positions", "peer_names", "vit"]

# Width, heads, depth.
FORMS = {"vit_ti": (192, 3, 12), "vit_s": (384, 6, 12), "vit_b": (768, 12, 12)}
FEWEST_PATCHES = 7


class TokenTrunk(nn.Module):
    """Images to the tokens behind the last normalisation, or their summary.

    Args:
        channels: of the images.
        grid: rows and columns of patches that positions are learned for.
        patch: height and width of a patch in pixels.
        width: features of a token.
        heads: of the attention.
        depth: number of blocks.
        pool: "class" gives the class token, "average" the mean of the patches' tokens.
        dropout: probability, behind every linear layer and the positions.
        attention_dropout: probability of dropping an attention weight.
    """

    def __init__(
        self,
        channels: int,
        grid: tuple[int, int],
        patch: int,
        width: int,
        heads: int,
        depth: int,
        *,
        pool: str = "class",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.grid = grid
        self.pool = pool
        self.embed = nn.Conv2d(channels, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + math.prod(grid), width))
        self.dropout = nn.Dropout(dropout)
        block = partial(TransformerBlock, width, heads, dropout=dropout, attention_dropout=attention_dropout)
        self.blocks = nn.Sequential(*(block() for _ in range(depth)))
        self.map = nn.Identity()
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch features"]:
        """Return one vector per image."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.patch, 0, -height % self.patch))
        embedded = self.embed(x)
        grid = embedded.shape[-2:]
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), embedded.flatten(2).transpose(1, 2)], 1)
        tokens = self.dropout(tokens + interpolate_positions(self.positions, self.grid, grid))
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        # The patches as a map of the image, for those who want to look at it; before the last block, as behind it
        # nothing that the class token reads comes from the patches any more.
        patches = self.map(tokens[:, 1:].transpose(1, 2).unflatten(2, grid))
        tokens = self.blocks[-1](torch.cat([tokens[:, :1], patches.flatten(2).transpose(1, 2)], 1))
        if self.pool == "average":
            return self.norm(tokens)[:, 1:].mean(1)
        return self.norm(tokens[:, 0])


def interpolate_positions(
    positions: Float[Tensor, "1 tokens width"], old: Sequence[int], new: Sequence[int]
) -> Float[Tensor, "1 more width"]:
    """Return learned positions for another grid, by bicubic interpolation; the class token keeps its own.

    Args:
        positions: the class token's, then one per patch, row by row.
        old: rows and columns they were learned for.
        new: rows and columns wanted.
    """
    if tuple(old) == tuple(new):
        return positions
    first, patches = positions[:, :1], positions[:, 1:]
    grid = patches.transpose(1, 2).unflatten(2, tuple(old))
    grid = F.interpolate(grid, tuple(new), mode="bicubic", antialias=True)
    return torch.cat([first, grid.flatten(2).transpose(1, 2)], 1)


@canon(
    "vision/vit",
    kind="classifier",
    paper="Dosovitskiy et al. 2021, An image is worth 16×16 words",
    names=("vit_ti", "vit_s", "vit_b"),
    example=lambda **shape: vit(patch=8, depth=2, **shape),
)
def vit(
    name: str = "vit_ti",
    *,
    classes: int = 1000,
    channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    patch: int = 0,
    depth: int = 0,
    pool: str = "class",
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
) -> nn.Module:
    """Return a Vision Transformer.

    Args:
        name: vit_ti, vit_s or vit_b.
        classes: number of logits.
        channels: of the images.
        image_size: what positions are learned for; they are interpolated for other sizes.
        patch: height and width of a patch in pixels; 0 for 16, or for small images the largest power of two that
            leaves 7 patches a side. Sizes that it does not divide are padded with zeros.
        depth: number of blocks; 0 for the name's own.
        pool: "class" or "average".
        dropout: probability, behind every linear layer and the positions.
        attention_dropout: probability of dropping an attention weight.

    Raises:
        GradusError: for another pooling or a negative patch or depth.
    """
    if pool not in ("class", "average"):
        raise GradusError(f"pool is 'class' or 'average', not {pool!r}")
    if patch < 0 or depth < 0:
        raise GradusError(f"patch and depth must be positive, or 0 to be chosen, not {min(patch, depth)}")
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    patch = patch or max(side for side in (1, 2, 4, 8, 16) if side == 1 or min(height, width) >= FEWEST_PATCHES * side)
    features, heads, blocks = FORMS[name]
    trunk = TokenTrunk(
        channels,
        (math.ceil(height / patch), math.ceil(width / patch)),
        patch,
        features,
        heads,
        depth or blocks,
        pool=pool,
        dropout=dropout,
        attention_dropout=attention_dropout,
    )
    head = chain(linear=nn.Linear(features, classes))
    model = Classifier(trunk, head, feature_map="trunk.map", minimum_size=patch)
    initialise(model, {nn.Conv2d: partial(small_normal, std=0.02), nn.Linear: partial(small_normal, std=0.02)})
    for tokens in (trunk.class_token, trunk.positions):
        small_normal(tokens, std=0.02)
    return model


def peer_names(name: str) -> list[tuple[str, str]]:
    """Return regular expressions from torchvision's and timm's parameter names to ours, applied in order."""
    return [
        (r"^(?:class_token|cls_token)$", "trunk.class_token"),
        (r"^(?:encoder\.pos_embedding|pos_embed)$", "trunk.positions"),
        (r"^(?:conv_proj|patch_embed\.proj)\.", "trunk.embed."),
        (r"^(?:encoder\.ln|norm)\.", "trunk.norm."),
        (r"^heads?\.(?:head\.)?", "head.linear."),
        (r"^(?:encoder\.layers\.encoder_layer_|blocks\.)(\d+)\.", r"trunk.blocks.\1."),
        (r"\.ln_(\d)\.", r".norm\1."),
        (r"\.(?:self_attention\.in_proj_|attn\.qkv\.)", ".attention.qkv."),
        (r"\.(?:self_attention\.out_proj|attn\.proj)\.", ".attention.out."),
        (r"\.mlp\.(?:0|linear_1|fc1)\.", ".mlp.linear1."),
        (r"\.mlp\.(?:3|linear_2|fc2)\.", ".mlp.linear2."),
    ]
