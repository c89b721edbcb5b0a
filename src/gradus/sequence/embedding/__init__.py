"""Word vectors: skip-gram, CBOW, subwords and GloVe, their files and what they are asked. Imports torch when used."""

from gradus.lazy import attach

__all__ = [
    "Bands", "Cooccurrences", "Embed", "Embedding", "Vocabulary", "WordVectors", "cbow", "fasttext", "glove",
    "read_vectors", "sgns", "skipgram", "write_vectors",
]  # fmt: skip

__getattr__, __dir__ = attach(
    __name__,
    {
        "bands": ("Bands",),
        "continuous_bag": ("cbow",),
        "cooccurrence": ("Cooccurrences",),
        "full_softmax": ("skipgram",),
        "global_vectors": ("glove",),
        "product": ("WordVectors",),
        "recipes": ("Embed",),
        "skip_gram": ("sgns",),
        "subwords": ("fasttext",),
        "tables": ("Embedding",),
        "vector_files": ("read_vectors", "write_vectors"),
        "vocabulary": ("Vocabulary",),
    },
)
