"""Language models: counted, recurrent, Transformers; what they say and what text costs them."""

from gradus.lazy import attach

__all__ = [
    "Decoding",
    "GPT",
    "LanguageModel",
    "MarkovChain",
    "NGram",
    "NextToken",
    "RecurrentModel",
    "TextModel",
    "generate",
    "token_cost",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "decoding": ("Decoding",),
        "evaluating": ("token_cost",),
        "generation": ("generate",),
        "gpt": ("GPT",),
        "markov": ("MarkovChain",),
        "ngram": ("NGram",),
        "objectives": ("NextToken",),
        "product": ("TextModel",),
        "recipes": ("LanguageModel",),
        "recurrent": ("RecurrentModel",),
    },
)
