"""Vision: named image architectures, and classification of images. Imports torch when first used."""

from gradus.lazy import attach

__all__ = ["Classifier", "ClassifyImages", "ImageModel", "build", "families", "load_pretrained"]

__getattr__, __dir__ = attach(
    __name__,
    {
        "classify": ("Classifier", "ClassifyImages", "ImageModel"),
        "models": ("build", "families", "load_pretrained"),
    },
)
