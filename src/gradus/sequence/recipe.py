"""Flags that the recipes of sequences share. Imports no torch: building does."""

from abc import ABC
from dataclasses import dataclass

from gradus.engine.options import Divided, Optimised
from gradus.engine.recipe import positive
from gradus.engine.validated import Validated

__all__ = ["SequenceRecipe"]


@dataclass(frozen=True, kw_only=True)
class SequenceRecipe(Optimised, Divided, Validated, ABC):
    """Flags of every recipe that learns from text or series by descending a gradient."""

    data: str = ""
    """A registered name, a file or a folder."""
    data_dir: str | None = None
    """Where registered data is looked for; GRADUS_DATA when left out."""
    limit: int | None = None
    """Use at most this many examples of each split."""
    batch_size: int = 32
    """Sequences per step, over all processes."""

    def __post_init__(self) -> None:
        """Check every option without importing torch."""
        super().__post_init__()
        positive(self, "limit", "batch_size")
