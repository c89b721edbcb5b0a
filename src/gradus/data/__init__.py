"""Data: image sets, tables, their registries and sources, augmentation, inspection. Importing this imports no torch.

`load_images` turns a name or a folder into train, val and test; an `ImageSource` deals shuffled batches of one without
end; `Augment` changes them on their device; `inspect` looks a data set over before anything is trained on it.
"""

from gradus.lazy import attach

__all__ = [
    "Augment",
    "Draws",
    "EpochSampler",
    "ImageBatch",
    "ImageSet",
    "ImageSource",
    "ImageSplits",
    "Inspection",
    "Table",
    "TableSchema",
    "TableSplits",
    "TensorSource",
    "load_images",
    "load_table",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "augment": ("Augment",),
        "draws": ("Draws",),
        "images": ("ImageBatch", "ImageSet", "ImageSplits"),
        "inspect": ("Inspection",),
        "registry": ("load_images",),
        "sampler": ("EpochSampler",),
        "sources": ("ImageSource", "TensorSource"),
        "table": ("Table", "TableSchema", "TableSplits"),
        "table_loading": ("load_table",),
    },
)
