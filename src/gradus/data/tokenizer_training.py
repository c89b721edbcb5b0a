"""Learning a vocabulary from text: characters, words, byte pairs, word pieces.

Every registered function of kind "tokenizer" takes texts and what is wanted, and returns a `Tokenizer`. Of equally
frequent characters and words those of smaller code points come first, so a vocabulary is a function of the counts.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import tokenizers
from tokenizers import normalizers, pre_tokenizers

from gradus.canon import canon
from gradus.data.documents import SEAM
from gradus.data.tokenizer import Tokenizer, Wanted, lowered, scalar
from gradus.data.tokenizer_layouts import UNKNOWN, WORD, bpe_layout, char_layout, word_layout, wordpiece_layout
from gradus.data.tokenizer_merges import CONTINUED, learn_byte_pairs, learn_word_pieces
from gradus.errors import GradusError

__all__ = ["bpe", "char", "word", "wordpiece"]

SIZE = 8192  # of a vocabulary of pieces when nobody says another
ALPHABET = 512  # letters of a WordPiece vocabulary; more only where they leave half of it to pieces


@canon("data/char-tokenizer", kind="tokenizer", paper="", names=("char",))
def char(texts: Iterable[str], wanted: Wanted) -> Tokenizer:
    """Every character is a token, in the order of code points.

    Args:
        texts: read once.
        wanted: what the vocabulary is to be like.

    Returns:
        The tokenizer.

    Raises:
        GradusError: if there is no text.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(scalar(text))
    if wanted.lowercase:
        counts = _added((letter, n) for c, n in counts.items() for letter in lowered(c))
    tokens = [*wanted.specials, *sorted(_kept(counts, wanted)[: _room(wanted)])]
    return Tokenizer(char_layout(tokens, wanted.specials, wanted.lowercase))


@canon("data/word-tokenizer", kind="tokenizer", paper="", names=("word",))
def word(texts: Iterable[str], wanted: Wanted) -> Tokenizer:
    """Words and punctuation marks are tokens, the most frequent first; apostrophes inside words belong to them.

    Args:
        texts: read once.
        wanted: what the vocabulary is to be like.

    Returns:
        The tokenizer.

    Raises:
        GradusError: if there is no text, or no [UNK] among the specials.
    """
    _require_unknown("word", wanted)
    split = pre_tokenizers.Split(tokenizers.Regex(WORD), "removed", invert=True)
    counts = _counted(texts, split, lowered if wanted.lowercase else str)
    tokens = [*wanted.specials, *_kept(counts, wanted)[: _room(wanted)]]
    return Tokenizer(word_layout(tokens, wanted.specials, wanted.lowercase))


@canon(
    "data/bpe-tokenizer",
    kind="tokenizer",
    paper="Sennrich, Haddow & Birch 2016, Neural machine translation of rare words with subword units",
    names=("bpe",),
)
def bpe(texts: Iterable[str], wanted: Wanted) -> Tokenizer:
    """Byte-level byte pairs as GPT-2's: the 256 bytes are tokens, then the most frequent pair within words, and so on.

    Args:
        texts: read once.
        wanted: what the vocabulary is to be like.

    Returns:
        The tokenizer, which knows every text.

    Raises:
        GradusError: if there is no text, or no room for the bytes.

    References:
        Sennrich, Haddow & Birch 2016, Neural machine translation of rare words with subword units.
        Radford et al. 2019, Language models are unsupervised multitask learners.
    """
    room, alphabet = _room(wanted, SIZE), sorted(pre_tokenizers.ByteLevel.alphabet())
    if room < len(alphabet):
        raise GradusError(f"a vocabulary of {wanted.size} has no room for the 256 bytes: raise its size")
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    counts = _counted(texts, split, lowered if wanted.lowercase else str)
    tokens, merges = learn_byte_pairs(counts, alphabet, room, wanted.least)
    return Tokenizer(bpe_layout([*wanted.specials, *tokens], wanted.specials, wanted.lowercase, merges))


@canon(
    "data/wordpiece-tokenizer",
    kind="tokenizer",
    paper="Schuster & Nakajima 2012, Japanese and Korean voice search",
    names=("wordpiece",),
)
def wordpiece(texts: Iterable[str], wanted: Wanted) -> Tokenizer:
    """Pieces of words as BERT's: letters, then the pair whose merging makes the text most likely, and so on.

    Args:
        texts: read once.
        wanted: what the vocabulary is to be like.

    Returns:
        The tokenizer; a word with a letter that it does not have is [UNK].

    Raises:
        GradusError: if there is no text, or no [UNK] among the specials.

    References:
        Schuster & Nakajima 2012, Japanese and Korean voice search.
        Devlin et al. 2019, BERT: pre-training of deep bidirectional transformers for language understanding.

    Deviations:
        The papers do not give the score. Ours is the gain of the log-likelihood, n_ab log(n_ab N / (n_a n_b)), and not
        the quotient n_ab / (n_a n_b) alone, for which a pair seen once may be the best of all.
    """
    _require_unknown("wordpiece", wanted)
    normaliser = normalizers.BertNormalizer(lowercase=wanted.lowercase)
    counts = _counted(texts, pre_tokenizers.BertPreTokenizer(), normaliser.normalize_str)
    letters = _added(
        (letter if i == 0 else CONTINUED + letter, n) for word, n in counts.items() for i, letter in enumerate(word)
    )
    room = _room(wanted, SIZE)
    alphabet = sorted(_kept(letters, wanted)[: max(room // 2, min(room, ALPHABET))])
    tokens = [*wanted.specials, *learn_word_pieces(counts, alphabet, room, wanted.least)]
    return Tokenizer(wordpiece_layout(tokens, wanted.specials, wanted.lowercase))


def _counted(
    texts: Iterable[str], split: pre_tokenizers.PreTokenizer, normalised: Callable[[str], str]
) -> Counter[str]:
    """Return how often each word comes; the texts are cut at blanks first, and each different stretch is split once."""
    stretches: Counter[str] = Counter()
    for text in texts:
        stretches.update(SEAM.split(scalar(text)))
    counts = _added(
        (word, times) for text, times in stretches.items() for word, _ in split.pre_tokenize_str(normalised(text))
    )
    if not counts:
        raise GradusError("there is nothing to learn a vocabulary from: give some text")
    return counts


def _kept(counts: Mapping[str, int], wanted: Wanted) -> list[str]:
    """Return what is frequent enough, the most frequent first."""
    found = [token for token, n in counts.items() if n >= wanted.least]
    if not found:
        raise GradusError(f"there is nothing to learn a vocabulary from: give text that has something {wanted.least} ×")
    return sorted(found, key=lambda token: (-counts[token], token))


def _room(wanted: Wanted, usual: int = sys.maxsize) -> int:
    """Return how many tokens there may be beside the special ones."""
    return (wanted.size or usual) - len(wanted.specials)


def _added(pairs: Iterable[tuple[str, int]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for token, n in pairs:
        counts[token] += n
    return counts


def _require_unknown(kind: str, wanted: Wanted) -> None:
    if UNKNOWN not in wanted.specials:
        raise GradusError(f"a {kind} tokenizer meets words that it never saw: give it the special token {UNKNOWN}")
