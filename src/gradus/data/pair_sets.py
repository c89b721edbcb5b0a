"""Registered sets of pairs: one of sentences, and small tasks that are made up by seed, with any amount of data.

    dates        3rd of March, '97  →  1997-03-03           every day once, written one of many ways
    date-lists   the same for one to four dates a line
    reversal     40712 → 21704             sorting  40712 → 01247
    multi30k     descriptions of images, German → English; multi30k-en-de the other way

How a date is read: a month that is a word or a Roman numeral cannot be mistaken; with slashes the month comes first,
with dots the day, and a year of four digits in front is followed by the month. Of a year only two digits may be
written: 69 to 99 are of the twentieth century, 00 to 68 of the twenty-first, as POSIX has it.
"""

import gzip
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import torch

from gradus.canon import canon
from gradus.data.download import PublishedFile, obtain
from gradus.data.draws import generator

__all__ = ["NamedPairs", "Pairs", "date_lists", "dates", "multi30k", "multi30k_reversed", "reversal", "sorting"]

DATES = 24_000
FIRST_DAY, DAYS = date(1900, 1, 1), 73_049  # to the last of 2099
WAYS = (
    "{day} {month} {year}", "{day} {mon} {year}", "{day} {month}, {year}", "{th} {month} {year}",
    "{th} of {month}, {year}", "the {th} of {month} {year}", "the {nth} of {month} {year}",
    "the {nth} of {month}, {year}", "{month} {day}, {year}", "{month} {th}, {year}", "{month} the {nth}, {year}",
    "{mon} {day} {year}", "{mon}. {day}, {year}", "{weekday}, {day} {month} {year}", "{weekday}, {month} {th}, {year}",
    "{week} {day} {mon} {year}", "{weekday} the {nth} of {month} {year}", "{year} {month} {day}", "{year}-{mon}-{dd}",
    "{year}/{mm}/{dd}", "{year}.{m}.{day}", "{year}{mm}{dd}", "{dd}.{mm}.{year}", "{day}.{m}.{year}",
    "{mm}/{dd}/{year}", "{m}/{day}/{year}", "{day} {roman} {year}", "{dd}-{mon}-{year}",
)  # fmt: skip
SHORT_WAYS = (
    "{day} {mon} {yy}", "{day} {month} '{yy}", "{mon} {day}, '{yy}", "{th} of {month}, '{yy}",
    "{week} {day} {mon} {yy}", "{dd}.{mm}.{yy}", "{day}.{m}.{yy}", "{mm}/{dd}/{yy}", "{m}/{day}/{yy}",
    "{dd}-{mon}-{yy}", "{day} {roman} {yy}",
)  # fmt: skip
CENTURY = range(1969, 2069)
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")
ONES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
TENS = (
    "tenth", "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth",
    "nineteenth",
)  # fmt: skip
ENDINGS = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}
SPELLED = (*ONES, *TENS, "twentieth", *(f"twenty-{one}" for one in ONES), "thirtieth", "thirty-first")
DIGIT_PAIRS = 20_000
DIGITS = (3, 12)  # shortest and longest string
SUMS = {
    "train.de": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "train.en": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "val.de": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "val.en": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "test_2016_flickr.de": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
    "test_2016_flickr.en": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
}
SERVED = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"


@dataclass(frozen=True)
class Pairs:
    """Sources and their targets.

    Attributes:
        sources: texts.
        targets: one for each.
    """

    sources: Sequence[str]
    targets: Sequence[str]

    def __post_init__(self) -> None:
        assert len(self.sources) == len(self.targets), f"{len(self.sources)} sources, {len(self.targets)} targets"

    def __len__(self) -> int:
        return len(self.sources)

    def __repr__(self) -> str:
        return f"Pairs({len(self):,})"

    def take(self, rows: Sequence[int]) -> "Pairs":
        """Return some pairs, in the order asked for."""
        return Pairs([self.sources[i] for i in rows], [self.targets[i] for i in rows])

    def turned(self) -> "Pairs":
        """Return the pairs the other way round."""
        return Pairs(self.targets, self.sources)


@dataclass(frozen=True)
class NamedPairs:
    """A set of pairs as it was published or made.

    Attributes:
        parts: `train`, and `val` and `test` where its authors fixed them.
        fingerprint: a hash of what it was read from.
        tokenizer: the kind that suits it.
    """

    parts: Mapping[str, Pairs]
    fingerprint: str
    tokenizer: str = "bpe"


@canon(
    "data/dates",
    kind="pair-set",
    paper="ISO 8601:2004, Data elements and interchange formats: representation of dates and times",
    names=("dates",),
)
def dates(data_dir: str | Path | None = None) -> NamedPairs:
    """24,000 days from 1900 to 2099 as people write them, each in one of 39 ways, and as ISO 8601; made by seed.

    Args:
        data_dir: not looked at.
    """
    return _dates()


@cache
def _dates() -> NamedPairs:
    numbers = generator("pairs", "dates")
    days = torch.randperm(DAYS, generator=numbers)[:DATES].tolist()
    return _made(_written(days, torch.rand(DATES, 2, generator=numbers).tolist()))


@canon(
    "data/date-lists",
    kind="pair-set",
    paper="Cho et al. 2014, On the properties of neural machine translation: encoder–decoder approaches",
    names=("date-lists",),
)
def date_lists(data_dir: str | Path | None = None) -> NamedPairs:
    """24,000 lines of one to four dates as people write them, and as ISO 8601: what length does to a translator.

    Args:
        data_dir: not looked at.
    """
    numbers = generator("pairs", "date-lists")
    counts = torch.arange(DATES) % 4 + 1
    total = int(counts.sum())
    days = torch.randint(DAYS, (total,), generator=numbers).tolist()
    each = iter(_written(days, torch.rand(total, 2, generator=numbers).tolist()))
    lines = [[next(each) for _ in range(count)] for count in counts.tolist()]
    return _made([(" and ".join(a for a, _ in line), " ".join(b for _, b in line)) for line in lines])


@canon(
    "data/reversal",
    kind="pair-set",
    paper="Graves, Wayne and Danihelka 2014, Neural Turing machines",
    names=("reversal",),
)
def reversal(data_dir: str | Path | None = None) -> NamedPairs:
    """20,000 strings of 3 to 12 digits, one to ten of them different, and the same from back to front.

    Args:
        data_dir: not looked at.
    """
    return _made([(text, text[::-1]) for text in _digits("reversal")])


@canon(
    "data/sorting",
    kind="pair-set",
    paper="Vinyals, Bengio and Kudlur 2016, Order matters: sequence to sequence for sets",
    names=("sorting",),
)
def sorting(data_dir: str | Path | None = None) -> NamedPairs:
    """20,000 strings of 3 to 12 digits, one to ten of them different, and the same digits in rising order.

    Args:
        data_dir: not looked at.
    """
    return _made([(text, "".join(sorted(text))) for text in _digits("sorting")])


@canon(
    "data/multi30k",
    kind="pair-set",
    paper="Elliott et al. 2016, Multi30K: multilingual English–German image descriptions",
    names=("multi30k", "multi30k-de-en"),
)
def multi30k(data_dir: str | Path | None = None) -> NamedPairs:
    """29,000 descriptions of images in German and English, 1,014 for validation, test_2016 for testing.

    Args:
        data_dir: a folder to look in first.

    Raises:
        GradusError: if the files are nowhere, or not the published ones.
    """
    files = [PublishedFile(f"{name}.gz", f"sha256:{sum}", (f"{SERVED}/{name}.gz",)) for name, sum in SUMS.items()]
    paths = obtain(("multi30k",), files, data_dir)
    sides = [gzip.decompress(path.read_bytes()).decode().removesuffix("\n").split("\n") for path in paths]
    sides = [[line.strip() for line in side] for side in sides]
    parts = {part: Pairs(*sides[2 * i : 2 * i + 2]) for i, part in enumerate(("train", "val", "test"))}
    return NamedPairs(parts, hashlib.sha256("".join(SUMS.values()).encode()).hexdigest())


@canon(
    "data/multi30k-en-de",
    kind="pair-set",
    paper="Elliott et al. 2016, Multi30K: multilingual English–German image descriptions",
    names=("multi30k-en-de",),
)
def multi30k_reversed(data_dir: str | Path | None = None) -> NamedPairs:
    """The same descriptions of images, English to German.

    Args:
        data_dir: a folder to look in first.

    Raises:
        GradusError: as `multi30k` does.
    """
    found = multi30k(data_dir)
    parts = {part: pairs.turned() for part, pairs in found.parts.items()}
    return NamedPairs(parts, hashlib.sha256(f"turned/{found.fingerprint}".encode()).hexdigest())


def _made(pairs: Sequence[tuple[str, str]]) -> NamedPairs:
    sources, targets = zip(*pairs, strict=True)
    text = "\n".join(f"{source}\t{target}" for source, target in pairs)
    return NamedPairs({"train": Pairs(sources, targets)}, hashlib.sha256(text.encode()).hexdigest(), "char")


def _digits(name: str) -> list[str]:
    """Return different strings of digits, of every length as many as there can be up to the same number.

    Each is written with one to ten different digits, so that runs and repetitions of every length are common: among
    strings of ten equally likely digits, those that tell whether a model can count would be missing.
    """
    numbers = generator("pairs", name)
    low, high = DIGITS
    found: list[str] = []
    for length in range(low, high + 1):
        wanted = (DIGIT_PAIRS - len(found)) // (high + 1 - length)
        shape = (4 * wanted, length)
        shuffled = torch.rand(4 * wanted, 10, generator=numbers).argsort(1)
        different = torch.randint(1, 11, (4 * wanted, 1), generator=numbers)
        drawn = shuffled.gather(1, (torch.rand(shape, generator=numbers) * different).long()).tolist()
        found += list(dict.fromkeys("".join(map(str, row)) for row in drawn))[: min(wanted, 10**length * 4 // 5)]
    return found


def _written(days: Sequence[int], draws: Sequence[Sequence[float]]) -> list[tuple[str, str]]:
    """Return days as somebody writes them, and as ISO 8601.

    Args:
        days: their numbers.
        draws: two numbers in [0, 1) for each, which decide the way and the case of the letters.
    """
    found = []
    for number, (way, letters) in zip(days, draws, strict=True):
        day = FIRST_DAY + timedelta(number)
        month, week, d, m = MONTHS[day.month - 1], WEEKDAYS[day.weekday()], day.day, day.month
        words = {
            "day": d, "dd": f"{d:02}", "th": f"{d}{ENDINGS.get(d, 'th')}", "nth": SPELLED[d - 1], "month": month,
            "mon": month[:3], "m": m, "mm": f"{m:02}", "roman": ROMAN[m - 1], "year": day.year,
            "yy": f"{day.year % 100:02}", "weekday": week, "week": week[:3],
        }  # fmt: skip
        ways = WAYS + SHORT_WAYS if day.year in CENTURY else WAYS
        case = (str, str, str, str.lower, str.upper)[int(letters * 5)]
        found.append((case(ways[int(way * len(ways))].format(**words)), day.isoformat()))
    return found
