"""Encoders of text, pretrained and fine-tuned: BERT and ELMo. Imports torch when first used."""

from gradus.lazy import attach

__all__ = [
    "Bert",
    "BertPretraining",
    "Elmo",
    "ElmoClassifier",
    "ElmoPretraining",
    "Masking",
    "ScalarMix",
    "SentenceClassifier",
    "SpanFinder",
    "SpanScores",
    "Tagger",
    "TextEncoder",
    "adopt",
    "load_bert",
    "save_bert",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "bert": ("Bert",),
        "bert_weights": ("load_bert", "save_bert"),
        "elmo": ("Elmo", "ElmoPretraining", "ScalarMix"),
        "elmo_models": ("ElmoClassifier",),
        "heads": ("BertPretraining", "SentenceClassifier", "SpanScores", "Tagger"),
        "masking": ("Masking",),
        "models": ("adopt",),
        "product": ("TextEncoder",),
        "span_finder": ("SpanFinder",),
    },
)
