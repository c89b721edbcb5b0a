"""Sequences and text: language models, classifiers, translators, word vectors. Imports torch when first used."""

from gradus.lazy import attach

__all__ = ["SequenceRecipe"]

__getattr__, __dir__ = attach(
    __name__,
    {
        "recipe": ("SequenceRecipe",),
    },
)
