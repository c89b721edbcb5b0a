"""Classifying texts: bags of words, recurrent and convolutional networks, BERT. Imports torch when first used."""

from gradus.lazy import attach

__all__ = [
    "BagOfWords", "ConvolutionalClassifier", "RecurrentClassifier", "Terms", "TextClassifier", "fit_terms", "stem",
]  # fmt: skip

__getattr__, __dir__ = attach(
    __name__,
    {
        "bag_of_words": ("BagOfWords",),
        "convolutional": ("ConvolutionalClassifier",),
        "product": ("TextClassifier",),
        "recurrent": ("RecurrentClassifier",),
        "stemming": ("stem",),
        "terms": ("Terms", "fit_terms"),
    },
)
