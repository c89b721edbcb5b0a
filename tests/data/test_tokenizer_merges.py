"""What is merged is what the equations say: against counting everything anew each time, and known answers."""

import math
from collections import Counter
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from gradus.data.tokenizer import train_tokenizer
from gradus.data.tokenizer_merges import learn_byte_pairs, learn_word_pieces, longest_match, merge

WORDS = st.dictionaries(st.text("abc", min_size=1, max_size=8), st.integers(1, 9), min_size=1, max_size=8)
SENNRICH = {"low": 5, "lower": 2, "newest": 6, "widest": 3}


def _replaced(word: list[str], pair: tuple[str, str], new: str) -> list[str]:
    found: list[str] = []
    while word:
        both = tuple(word[:2]) == pair
        found.append(new if both else word[0])
        word = word[2 if both else 1 :]
    return found


def _counts(words: dict[tuple[str, ...], int]) -> tuple[Counter, Counter]:
    pairs, single = Counter[tuple[str, str]](), Counter[str]()
    for word, times in words.items():
        for pair in pairwise(word):
            pairs[pair] += times
        for token in word:
            single[token] += times
    return pairs, single


def _naive_byte_pairs(words: dict[str, int], alphabet: list[str], size: int) -> list[tuple[str, str]]:
    tokens, merges = list(alphabet), []
    held = {tuple(word): times for word, times in words.items()}
    while len(tokens) < size and (pairs := _counts(held)[0]):
        pair = min(pairs, key=lambda p: (-pairs[p], tokens.index(p[0]), tokens.index(p[1])))
        merges.append(pair)
        if "".join(pair) not in tokens:
            tokens.append("".join(pair))
        held = {tuple(_replaced(list(word), pair, "".join(pair))): times for word, times in held.items()}
    return merges


def _naive_pieces(words: dict[str, int], alphabet: list[str], size: int) -> list[str]:
    tokens = list(alphabet)
    held = {(word[0], *("##" + letter for letter in word[1:])): times for word, times in words.items()}
    while len(tokens) < size:
        pairs, single = _counts(held)
        total = sum(single.values())
        gains = {(a, b): n * math.log(n * (total / (single[a] * single[b]))) for (a, b), n in pairs.items()}
        best = max(gains.values(), default=0.0)
        if best <= 1e-12:
            break
        close = [pair for pair in gains if gains[pair] >= best - 1e-9]
        pair = min(close, key=lambda p: (tokens.index(p[0]), tokens.index(p[1])))
        new = pair[0] + pair[1].removeprefix("##")
        if new not in tokens:
            tokens.append(new)
        held = {tuple(_replaced(list(word), pair, new)): times for word, times in held.items()}
    return tokens


@given(WORDS, st.integers(4, 14))
def test_byte_pairs_are_those_of_counting_anew(words: dict[str, int], size: int) -> None:
    _, merges = learn_byte_pairs(words, ["a", "b", "c"], size)
    assert merges == _naive_byte_pairs(words, ["a", "b", "c"], size)


@settings(max_examples=200)
@given(WORDS, st.integers(8, 20))
def test_word_pieces_are_those_of_counting_anew(words: dict[str, int], size: int) -> None:
    alphabet = ["##a", "##b", "##c", "a", "b", "c"]
    found, expected = learn_word_pieces(words, alphabet, size), _naive_pieces(words, alphabet, size)
    assert found == expected


def test_the_example_of_sennrich() -> None:
    _, merges = learn_byte_pairs(SENNRICH, sorted(set("".join(SENNRICH))), 14)
    assert merges[:4] == [("e", "s"), ("es", "t"), ("l", "o"), ("lo", "w")]


def test_least_ends_merging() -> None:
    _, merges = learn_byte_pairs(SENNRICH, sorted(set("".join(SENNRICH))), 100, least=7)
    assert merges == [("e", "s"), ("es", "t"), ("l", "o"), ("lo", "w")]


def test_what_is_frequent_goes_before_what_is_rare_but_exclusive() -> None:
    words = {"xy": 1} | {f"th{letter}": 50 for letter in "aeiou"}
    alphabet = sorted({word[0] for word in words} | {"##" + letter for word in words for letter in word[1:]})
    found = learn_word_pieces(words, alphabet, len(alphabet) + 1)
    assert found[-1] == "th", "the quotient n_ab / (n_a n_b) alone would take xy, seen once"


@settings(max_examples=40, deadline=None)
@given(
    st.text(st.sampled_from("abc dé'1\n"), min_size=1, max_size=60), st.text(st.sampled_from("abc dé'1\n"), max_size=40)
)
def test_reading_the_merges_gives_the_ids_of_the_library(learned: str, text: str) -> None:
    made = train_tokenizer("bpe", [learned], size=280)
    ranks = {tuple(pair): rank for rank, pair in enumerate(made.layout["model"]["merges"])}
    words = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    found = [token for word, _ in words for token in merge(word, ranks)]
    assert [made.tokens.index(token) for token in found] == made.encode(text)


@settings(max_examples=60, deadline=None)
@given(st.text("abcd ", min_size=1, max_size=60), st.lists(st.text("abcde", min_size=1, max_size=9), max_size=5))
def test_the_longest_match_gives_the_ids_of_the_library(learned: str, words: list[str]) -> None:
    made = train_tokenizer("wordpiece", [learned + " a"], size=20)
    found = [token for word in words for token in longest_match(word, made.tokens)]
    assert [made.id(token) for token in found] == made.encode(" ".join(words))


def test_a_word_too_long_is_unknown() -> None:
    made = train_tokenizer("wordpiece", ["aaaa aa"])
    for length in (100, 101):
        found = longest_match("a" * length, made.tokens)
        assert [made.id(token) for token in found] == made.encode("a" * length)
    assert longest_match("a" * 101, made.tokens) == ["[UNK]"]
