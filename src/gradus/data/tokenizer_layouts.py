"""How each kind of tokenizer is written down: the tokenizer.json of the `tokenizers` library, as plain data.

    text → normaliser → pre-tokeniser (words) → model (pieces of a word) → ids

A layout is a dict that JSON holds as it is; what is trained is its vocabulary and, for byte pairs, its merges.

References:
    Radford et al. 2019, Language models are unsupervised multitask learners (byte-level byte-pair encoding).
    Devlin et al. 2019, BERT: pre-training of deep bidirectional transformers (the basic tokeniser, ## pieces).
"""

from collections.abc import Sequence
from typing import Any

__all__ = ["UNKNOWN", "bpe_layout", "char_layout", "kind_of", "word_layout", "wordpiece_layout"]

UNKNOWN = "[UNK]"
ANY_CHARACTER = r"[\s\S]"
WORD = r"\w+(?:['’]\w+)*|[^\w\s]"
LEAN_LEFT, LEAN_RIGHT = ",.;:!?)]}", "([{"
CONTINUED = "##"
LONGEST_WORD = 100  # characters, beyond which WordPiece calls a word unknown

Layout = dict[str, Any]


def char_layout(tokens: Sequence[str], specials: Sequence[str], lowercase: bool) -> Layout:
    """Return the layout of a tokenizer whose tokens are characters.

    Args:
        tokens: all tokens by id, specials first.
        specials: names of the special ones.
        lowercase: whether text is brought to small letters first.
    """
    return _layout(
        specials,
        normalizer={"type": "Lowercase"} if lowercase else None,
        pre_tokenizer=_split(ANY_CHARACTER, "Isolated", invert=False),
        decoder={"type": "Fuse"},
        model={"type": "WordLevel", "vocab": _ids(tokens), "unk_token": UNKNOWN},
    )


def word_layout(tokens: Sequence[str], specials: Sequence[str], lowercase: bool) -> Layout:
    """Return the layout of a tokenizer whose tokens are words and punctuation marks; arguments as `char_layout`."""
    return _layout(
        specials,
        normalizer={"type": "Lowercase"} if lowercase else None,
        pre_tokenizer=_split(WORD, "Removed", invert=True),
        decoder=_spaced(" "),  # no word holds a blank, so none is taken for the rest of another
        model={"type": "WordLevel", "vocab": _ids(tokens), "unk_token": UNKNOWN},
    )


def bpe_layout(
    tokens: Sequence[str], specials: Sequence[str], lowercase: bool, merges: Sequence[tuple[str, str]]
) -> Layout:
    """Return the layout of a byte-level byte-pair encoding as GPT-2's.

    Args:
        tokens: all tokens by id: specials, the 256 bytes, then what the merges give.
        specials: names of the special ones.
        lowercase: whether text is brought to small letters first.
        merges: pairs of tokens, most important first.
    """
    model = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
        "vocab": _ids(tokens), "merges": [list(pair) for pair in merges],
    }  # fmt: skip
    return _layout(
        specials,
        normalizer={"type": "Lowercase"} if lowercase else None,
        pre_tokenizer={"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        decoder={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        model=model,
    )


def wordpiece_layout(tokens: Sequence[str], specials: Sequence[str], lowercase: bool) -> Layout:
    """Return the layout of a WordPiece tokenizer as BERT's; arguments as `char_layout`."""
    return _layout(
        specials,
        normalizer={
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
            "lowercase": lowercase,
        },
        pre_tokenizer={"type": "BertPreTokenizer"},
        decoder=_spaced(CONTINUED),
        model={
            "type": "WordPiece", "unk_token": UNKNOWN, "continuing_subword_prefix": CONTINUED,
            "max_input_chars_per_word": LONGEST_WORD, "vocab": _ids(tokens),
        },
    )  # fmt: skip


def kind_of(layout: Layout) -> str | None:
    """Return which kind of tokenizer a layout describes; None for one that is not known here."""
    model = layout["model"]["type"]
    if model == "WordLevel":
        pattern = (layout.get("pre_tokenizer") or {}).get("pattern", {}).get("Regex")
        return "char" if pattern == ANY_CHARACTER else "word"
    return {"BPE": "bpe", "WordPiece": "wordpiece"}.get(model)


def _layout(specials: Sequence[str], **parts: Any) -> Layout:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": i, "content": name, **flags} for i, name in enumerate(specials)]
    head = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added}
    return {**head, "post_processor": None, **parts}


def _split(pattern: str, behaviour: str, *, invert: bool) -> Layout:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behaviour, "invert": invert}


def _spaced(prefix: str) -> Layout:
    """Return a decoder that puts blanks between words and takes those away that belong to no punctuation mark."""
    leaning = [(f" {mark}", mark) for mark in LEAN_LEFT] + [(f"{mark} ", mark) for mark in LEAN_RIGHT]
    replaced = [{"type": "Replace", "pattern": {"String": a}, "content": b} for a, b in leaning]
    joined = [{"type": "WordPiece", "prefix": prefix, "cleanup": False}, {"type": "Fuse"}]
    return {"type": "Sequence", "decoders": [*joined, *replaced]}


def _ids(tokens: Sequence[str]) -> dict[str, int]:
    return {token: i for i, token in enumerate(tokens)}
