"""Porter's stemmer: the endings of English words, taken off by rule.

A word is C(VC)^m V, where C is a run of consonants and V one of vowels, and either may be missing at the ends; y is a
vowel behind a consonant. m measures what would be left. A rule "(condition) ending → other" applies where the word has
the ending and the stem before it meets the condition; of the endings of a step the longest that fits decides.

    1  caresses → caress, ponies → poni, feed → feed, agreed → agree, plastered → plaster, hopping → hop, happy → happi
    2  relational → relate, vietnamization → vietnamize    3  triplicate → triplic, hopeful → hope
    4  revival → reviv, adoption → adopt                   5  probate → probat, controll → control

References:
    Porter 1980, An algorithm for suffix stripping.
"""

from functools import lru_cache

__all__ = ["measure", "stem"]

VOWELS = frozenset("aeiou")
# Endings of a step, and what comes in their place where the stem measures more than 0 (steps 2 and 3).
SECOND = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "abli": "able", "alli": "al",
    "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate", "alism": "al",
    "iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti": "ble",
}  # fmt: skip
THIRD = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
# Endings that go where the stem measures more than 1.
FOURTH = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
    "ous", "ive", "ize",
)  # fmt: skip
LONGEST = 7


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """Return the stem of a word, in small letters.

    Args:
        word: one word; what is no English letter counts as a consonant.

    References:
        Porter 1980, An algorithm for suffix stripping.
    """
    word = _plurals(word.lower())
    word = _past(word)
    if word.endswith("y") and _has_vowel(word[:-1]):
        word = word[:-1] + "i"
    word = _replaced(word, SECOND)
    word = _replaced(word, THIRD)
    return _final(_dropped(word))


def measure(word: str) -> int:
    """Return m, how often a consonant follows a vowel.

    Args:
        word: in small letters.
    """
    return _kinds(word).count("vc")


def _kinds(word: str) -> str:
    """Return for each letter whether it is a vowel or a consonant."""
    found = ""
    for letter in word:
        vowel = letter in VOWELS or (letter == "y" and found[-1:] == "c")
        found += "v" if vowel else "c"
    return found


def _has_vowel(word: str) -> bool:
    return "v" in _kinds(word)


def _is_double(word: str) -> bool:
    """Return whether a word ends in the same consonant twice."""
    return word[-1:] == word[-2:-1] and bool(word) and _kinds(word)[-1] == "c"


def _is_short(word: str) -> bool:
    """Return whether a word ends as "hop" does, in a consonant, a vowel and a consonant other than w, x and y."""
    return _kinds(word)[-3:] == "cvc" and word[-1] not in "wxy"


def _plurals(word: str) -> str:
    for ending, kept in (("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")):
        if word.endswith(ending):
            return word.removesuffix(ending) + kept
    return word


def _past(word: str) -> str:
    """Take off ed and ing, and mend the stem: hopp → hop, fil → file, conflat → conflate."""
    if word.endswith("eed"):
        return word[:-1] if measure(word[:-3]) > 0 else word
    ending = next((ending for ending in ("ed", "ing") if word.endswith(ending)), None)
    if ending is None or not _has_vowel(word.removesuffix(ending)):
        return word
    word = word.removesuffix(ending)
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if _is_double(word) and word[-1] not in "lsz":
        return word[:-1]
    return word + "e" if measure(word) == 1 and _is_short(word) else word


def _longest(word: str, endings: dict[str, str] | tuple[str, ...]) -> str | None:
    """Return the longest of some endings that a word has."""
    return next((word[-n:] for n in range(min(LONGEST, len(word)), 1, -1) if word[-n:] in endings), None)


def _replaced(word: str, rules: dict[str, str]) -> str:
    ending = _longest(word, rules)
    if ending is None or measure(word.removesuffix(ending)) == 0:
        return word
    return word.removesuffix(ending) + rules[ending]


def _dropped(word: str) -> str:
    ending = _longest(word, FOURTH)
    if ending is None:
        return word
    rest = word.removesuffix(ending)
    return rest if measure(rest) > 1 and (ending != "ion" or rest[-1:] in ("s", "t")) else word


def _final(word: str) -> str:
    """Take off a last e, and the second of two l."""
    if word.endswith("e"):
        m = measure(word[:-1])
        if m > 1 or (m == 1 and not _is_short(word[:-1])):
            word = word[:-1]
    return word[:-1] if word.endswith("ll") and measure(word[:-1]) > 1 else word
