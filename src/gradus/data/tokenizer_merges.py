r"""Learning which neighbouring tokens to merge, and encoding by what was learned.

Both learners start from words as characters, and merge one pair everywhere, again and again. With n_ab the number of
times that b stands behind a in a word, n_a that of a, and N that of all tokens:

    byte pairs    the pair with the largest n_ab
    word pieces   the pair with the largest n_ab log(n_ab N / (n_a n_b))

The second is what the log-likelihood of the text under p(a) = n_a / N gains when ab becomes a token of probability
n_ab / N. Of equals the pair of the smaller ids is merged.

References:
    Sennrich, Haddow & Birch 2016, Neural machine translation of rare words with subword units (byte pairs).
    Schuster & Nakajima 2012, Japanese and Korean voice search (word pieces).
"""

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

import numpy as np
from jaxtyping import Int

__all__ = ["Pair", "learn_byte_pairs", "learn_word_pieces", "longest_match", "merge"]

Pair = tuple[int, int]
CONTINUED = "##"


class _Words:
    """Different words as tokens, how often each comes, and how often each pair stands in them all.

    Args:
        words: tokens of each word, with its count.
    """

    def __init__(self, words: Iterable[tuple[list[int], int]]) -> None:
        self.words: list[list[int]] = []
        self.times: list[int] = []
        self.where: dict[Pair, set[int]] = defaultdict(set)
        self.counts: Counter[Pair] = Counter()
        for place, (word, times) in enumerate(words):
            self.words.append(word)
            self.times.append(times)
            for pair in pairwise(word):
                self.counts[pair] += times
                self.where[pair].add(place)

    def merge(self, pair: Pair, new: int) -> tuple[dict[Pair, int], int]:
        """Put a new token for a pair wherever it stands.

        Returns:
            By how much each pair has become more frequent, and how many tokens there are fewer.
        """
        changes: Counter[Pair] = Counter()
        fewer = 0
        for place in self.where.pop(pair):
            old, times = self.words[place], self.times[place]
            word = _merged(old, pair, new)
            if len(word) == len(old):
                continue  # an earlier merge took the pair out of this word
            self.words[place] = word
            fewer += times * (len(old) - len(word))
            for gone in pairwise(old):
                changes[gone] -= times
            for come in pairwise(word):
                changes[come] += times
                if new in come:
                    self.where[come].add(place)
        for changed, by in changes.items():
            self.counts[changed] += by
        return changes, fewer


def learn_byte_pairs(
    words: Mapping[str, int], alphabet: Sequence[str], size: int, least: int = 1
) -> tuple[list[str], list[tuple[str, str]]]:
    """Return tokens and merges of a byte-pair encoding.

    Pairs wait in a heap ordered by count; counts that have fallen since are put right when they come up.

    Args:
        words: how often each comes, as texts of letters of the alphabet.
        alphabet: the first tokens.
        size: how many tokens to end with, alphabet included.
        least: how often a pair must come to be merged.

    Returns:
        The tokens, and the merges as pairs of tokens in their order.
    """
    tokens = list(alphabet)
    ids = {token: i for i, token in enumerate(tokens)}
    held = _Words(([ids[letter] for letter in word], times) for word, times in words.items())
    heap = [(-count, pair) for pair, count in held.counts.items()]
    heapify(heap)
    merges: list[tuple[str, str]] = []
    while heap and len(tokens) < size:
        negative, pair = heappop(heap)
        count = held.counts[pair]
        if count != -negative:
            if count > 0:
                heappush(heap, (-count, pair))
            continue
        if count < max(least, 1):
            break
        merged = tokens[pair[0]] + tokens[pair[1]]
        new = ids.setdefault(merged, len(tokens))  # two ways may lead to one text
        if new == len(tokens):
            tokens.append(merged)
        merges.append((tokens[pair[0]], tokens[pair[1]]))
        for changed, by in held.merge(pair, new)[0].items():
            if by > 0:
                heappush(heap, (-held.counts[changed], changed))
    return tokens, merges


def learn_word_pieces(words: Mapping[str, int], alphabet: Sequence[str], size: int, least: int = 1) -> list[str]:
    """Return the tokens of a WordPiece vocabulary.

    Args:
        words: how often each comes.
        alphabet: the first tokens: letters as they begin a word, and with ## as they go on with one.
        size: how many tokens to end with, alphabet included.
        least: how often a pair must come to be merged.

    Returns:
        The alphabet, then the pieces in the order in which they were made. Merging ends early when it no longer makes
        the text more likely.
    """
    tokens = list(alphabet)
    ids = {token: i for i, token in enumerate(tokens)}
    split = ((_letters(word), times) for word, times in words.items())
    held = _Words(([ids[c] for c in word], times) for word, times in split if all(c in ids for c in word))
    table = _Scores(held, len(tokens))
    while len(tokens) < size:
        pair = table.best(max(least, 1))
        if pair is None:
            break
        merged = tokens[pair[0]] + tokens[pair[1]].removeprefix(CONTINUED)
        new = ids.setdefault(merged, len(tokens))
        if new == len(tokens):
            tokens.append(merged)
        table.merge(pair, new)
    return tokens


class _Scores:
    """The gain of every pair, found anew for those that may be best.

    As n_a, n_b ≥ n_ab, a gain is at most n_ab log(N / n_ab), and pairs too rare to be best are not looked at.
    """

    def __init__(self, held: _Words, letters: int) -> None:
        self.held = held
        self.places: dict[Pair, int] = {}
        self.left, self.right, self.counts = array("q"), array("q"), array("q")
        self.times = array("q", [0]) * letters
        for word, times in zip(held.words, held.times, strict=True):
            for token in word:
                self.times[token] += times
        self.total = sum(self.times)
        self._set(held.counts)
        self.threshold = 1

    def best(self, least: int) -> Pair | None:
        """Return the pair of the largest positive gain; None if there is none."""
        counts, total = np.frombuffer(self.counts, np.int64), self.total
        threshold = max(self.threshold, least)
        while True:
            some = np.flatnonzero(counts >= threshold)
            pair, gain = self._largest(some, total) if len(some) else (None, 0.0)
            rare = min(threshold, total / math.e)  # where the bound is largest
            if threshold == least or gain >= rare * math.log(total / rare):
                self.threshold = max(least, int(0.8 * gain / math.log(total + 1)))
                return pair if gain > 0 else None
            threshold = max(least, threshold // 2)

    def _largest(self, some: Int[np.ndarray, " some"], total: int) -> tuple[Pair, float]:
        left, right = (np.frombuffer(side, np.int64)[some] for side in (self.left, self.right))
        times, counts = np.frombuffer(self.times, np.int64), np.frombuffer(self.counts, np.int64)[some]
        gains = counts * np.log(counts * (total / (times[left] * times[right].astype(np.float64))))
        ties = np.flatnonzero(gains == gains.max())
        pair = min((int(left[i]), int(right[i])) for i in ties)
        return pair, float(gains[ties[0]])

    def merge(self, pair: Pair, new: int) -> None:
        """Merge a pair everywhere."""
        if new == len(self.times):
            self.times.append(0)
        changes, fewer = self.held.merge(pair, new)
        self._set({changed: self.held.counts[changed] for changed in changes})
        self.total -= fewer
        self.times[new] += fewer
        for token in pair:
            self.times[token] -= fewer

    def _set(self, counts: Mapping[Pair, int]) -> None:
        for pair, count in counts.items():
            place = self.places.setdefault(pair, len(self.counts))
            if place < len(self.counts):
                self.counts[place] = count
            else:
                for column, value in ((self.left, pair[0]), (self.right, pair[1]), (self.counts, count)):
                    column.append(value)


def merge(word: Sequence[str], ranks: Mapping[tuple[str, str], int]) -> list[str]:
    """Return a word's tokens by byte-pair encoding, written to be read.

    While neighbours form a learned pair, those of the lowest rank are merged, everywhere in the word from the left.

    Args:
        word: its letters.
        ranks: place of each pair among the merges.
    """
    tokens = list(word)
    while len(tokens) > 1:
        best = min(pairwise(tokens), key=lambda pair: ranks.get(pair, math.inf))
        if best not in ranks:
            break
        tokens = list(_joined(tokens, best))
    return tokens


def longest_match(word: str, vocabulary: Iterable[str], unknown: str = "[UNK]", most: int = 100) -> list[str]:
    """Return a word's pieces, written to be read: from the left, always the longest piece that is in the vocabulary.

    Args:
        word: without blanks.
        vocabulary: pieces, with ## in front of those that go on with a word.
        unknown: what a word is that cannot be put together.
        most: characters of the longest word that is tried.
    """
    known, pieces, start = set(vocabulary), list[str](), 0
    while start < len(word) <= most:
        prefix = CONTINUED if start else ""
        fitting = (end for end in range(len(word), start, -1) if prefix + word[start:end] in known)
        end = next(fitting, None)
        if end is None:
            return [unknown]
        pieces.append(prefix + word[start:end])
        start = end
    return pieces if len(word) <= most else [unknown]


def _merged(word: list[int], pair: Pair, new: int) -> list[int]:
    a, b = pair
    found, i, last = [], 0, len(word) - 1
    while i <= last:
        if i < last and word[i] == a and word[i + 1] == b:
            found.append(new)
            i += 2
        else:
            found.append(word[i])
            i += 1
    return found


def _joined(tokens: Sequence[str], pair: tuple[str, str]) -> Iterator[str]:
    i = 0
    while i < len(tokens):
        both = tuple(tokens[i : i + 2]) == pair
        yield "".join(tokens[i : i + 2]) if both else tokens[i]
        i += 2 if both else 1


def _letters(word: str) -> list[str]:
    return [word[:1], *(CONTINUED + letter for letter in word[1:])]
