"""Data: images, tables, text, their registries and sources, augmentation, inspection. Importing this imports no torch.

`load_images` turns a name or a folder into train, val and test; an `ImageSource` deals shuffled batches of one without
end; `Augment` changes them on their device; `inspect` looks a data set over before anything is trained on it.
`load_corpus` does for text what `load_images` does for images, a `Tokenizer` turns it into ids, and a
`WindowSource`, a `StreamSource` or a `SequenceSource` deals them.
"""

from gradus.lazy import attach

__all__ = [
    "Augment",
    "Corpus",
    "CorpusSplits",
    "Draws",
    "EpochSampler",
    "ImageBatch",
    "ImageSet",
    "ImageSource",
    "ImageSplits",
    "Inspection",
    "PairSplits",
    "Pairs",
    "Ragged",
    "SequenceSource",
    "StreamSource",
    "Table",
    "TableSchema",
    "TableSplits",
    "TensorSource",
    "TextSet",
    "TextSplits",
    "Tokenizer",
    "WindowSource",
    "load_corpus",
    "load_images",
    "load_labelled",
    "load_pairs",
    "load_table",
    "train_tokenizer",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "augment": ("Augment",),
        "corpora": ("Corpus", "CorpusSplits", "load_corpus"),
        "corpus_sources": ("StreamSource", "WindowSource"),
        "draws": ("Draws",),
        "images": ("ImageBatch", "ImageSet", "ImageSplits"),
        "inspect": ("Inspection",),
        "labelled_text": ("TextSet", "TextSplits", "load_labelled"),
        "pair_sets": ("Pairs",),
        "pairs": ("PairSplits", "load_pairs"),
        "ragged": ("Ragged", "SequenceSource"),
        "registry": ("load_images",),
        "sampler": ("EpochSampler",),
        "sources": ("ImageSource", "TensorSource"),
        "table": ("Table", "TableSchema", "TableSplits"),
        "table_loading": ("load_table",),
        "tokenizer": ("Tokenizer", "train_tokenizer"),
    },
)
