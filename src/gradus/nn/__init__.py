"""Modules and functions on them: convolutions, blocks, normalisation, attention, initialisation, summaries, probes.

Nothing here knows of data, training or files. Importing the package imports no torch. The classes are offered here;
the functions live in the module that has their name: `from gradus.nn.summary import summary`.
"""

from gradus.lazy import attach

__all__ = [
    "BatchNorm",
    "Classifier",
    "DenseLayer",
    "GroupNorm",
    "Inception",
    "InstanceNorm",
    "LayerNorm",
    "PreActivation",
    "ReceptiveField",
    "Residual",
    "SelfAttention",
    "SpectralNorm",
    "SqueezeExcitation",
    "Summary",
    "TransformerBlock",
    "WeightNorm",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "attention": ("SelfAttention", "TransformerBlock"),
        "classifier": ("Classifier",),
        "dense": ("DenseLayer",),
        "inception": ("Inception",),
        "normalisation": ("BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "SpectralNorm", "WeightNorm"),
        "receptive_field": ("ReceptiveField",),
        "residual": ("PreActivation", "Residual"),
        "squeeze_excitation": ("SqueezeExcitation",),
        "summary": ("Summary",),
    },
)
