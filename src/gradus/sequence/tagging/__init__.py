"""Tagging: a class for every token of a sentence. Imports torch when first used."""

from gradus.lazy import attach

__all__ = ["RecurrentTagger", "Tag", "TextTagger", "span_f1", "spans_of"]

__getattr__, __dir__ = attach(
    __name__,
    {
        "measures": ("span_f1", "spans_of"),
        "product": ("TextTagger",),
        "recipes": ("Tag",),
        "recurrent": ("RecurrentTagger",),
    },
)
