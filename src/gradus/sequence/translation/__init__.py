"""Translation: encoder–decoders with and without attention, Transformers, beam search. Imports torch when used."""

from gradus.lazy import attach

__all__ = [
    "Alignment",
    "AttentionTranslator",
    "EncoderDecoder",
    "Hypothesis",
    "RecurrentTranslator",
    "Shared",
    "Teach",
    "TransformerTranslator",
    "Translation",
    "Translator",
    "reordered",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "alignment": ("Alignment", "Translation"),
        "beam_search": ("Hypothesis", "Shared", "reordered"),
        "models": ("EncoderDecoder",),
        "objectives": ("Teach",),
        "product": ("Translator",),
        "recurrent": ("AttentionTranslator", "RecurrentTranslator"),
        "transformer": ("TransformerTranslator",),
    },
)
