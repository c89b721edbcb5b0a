"""Pairs of texts: aligned files, tables, registered sets; what is wrong with a file is said, with its line."""

import datetime
import gzip
import json
import os
from pathlib import Path

import pytest

from gradus.data.pair_sets import CENTURY, Pairs, dates, multi30k, reversal, sorting
from gradus.data.pairs import load_pairs
from gradus.errors import GradusError


def written(name: str, text: str) -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def numbered(count: int) -> tuple[str, str]:
    return "".join(f"source {i}\n" for i in range(count)), "".join(f"target {i}\n" for i in range(count))


def both(splits) -> set[tuple[str, str]]:
    return {pair for part in splits.parts.values() for pair in zip(part.sources, part.targets, strict=True)}


def test_line_i_of_one_file_belongs_to_line_i_of_the_other():
    a, b = numbered(50)
    splits = load_pairs(written("a.txt", a), target=written("b.txt", b))
    assert both(splits) == {(f"source {i}", f"target {i}") for i in range(50)}
    assert {part: len(pairs) for part, pairs in splits.parts.items()} == {"train": 35, "val": 5, "test": 10}
    assert splits.tokenizer == "bpe"
    Path("c.gz").write_bytes(gzip.compress(b.encode()))
    assert load_pairs("a.txt", target="c.gz").train == splits.train


def test_files_of_different_length_name_the_first_line_without_a_partner():
    a, b = numbered(5)
    written("a.txt", a), written("b.txt", b + "one more\nand another\n")
    with pytest.raises(GradusError, match=r"a.txt has 5 lines and b.txt has 7: line 6 of b.txt has no partner"):
        load_pairs("a.txt", target="b.txt")
    with pytest.raises(GradusError, match=r"line 6 of b.txt has no partner"):
        load_pairs("b.txt", target="a.txt")


def test_a_pair_with_an_empty_side_is_left_out_and_that_is_said():
    a, b = numbered(30)
    splits = load_pairs(written("a.txt", a + "lonely\n\n"), target=written("b.txt", b + "   \n\n"))
    assert len(both(splits)) == 30
    assert splits.notes == ("2 pairs with an empty side left out",)
    assert not load_pairs("a.txt", target="a.txt").train.sources.count("")


@pytest.mark.parametrize("name", ["x.tsv", "x.csv", "x.jsonl"])
def test_tables_give_the_same_pairs(name):
    rows = [(f'say "{i}"', f"number {i}, said") for i in range(40)]
    if name == "x.tsv":
        text = "".join(f"{a}\t{b}\n" for a, b in rows)
    elif name == "x.csv":
        text = "id,source,target\n" + "".join(f'{i},"say ""{i}""","number {i}, said"\n' for i in range(40))
    else:
        text = "".join(json.dumps({"id": i, "source": a, "target": b}) + "\n" for i, (a, b) in enumerate(rows))
    splits = load_pairs(written(name, text), test_fraction=0.1)
    assert both(splits) == set(rows)


def test_fields_are_found_by_name_or_by_place():
    text = "de\ten\tfr\n" + "".join(f"d{i}\te{i}\tf{i}\n" for i in range(20))
    named = load_pairs(written("x.tsv", text), source_field="fr", target_field="de")
    assert both(named) == {(f"f{i}", f"d{i}") for i in range(20)}
    assert ("d3", "e3") in both(load_pairs("x.tsv", target_field="en"))
    assert ("de", "en") in both(load_pairs("x.tsv"))  # nothing says that the first row is a header
    assert named.tokenizer == "char"
    with pytest.raises(GradusError, match="no field 'du'; did you mean 'de'"):
        load_pairs("x.tsv", source_field="du", target_field="en")
    with pytest.raises(GradusError, match="both 'de'"):
        load_pairs("x.tsv", source_field="de", target_field="de")


@pytest.mark.parametrize(
    "name, text, said",
    [
        ("x.txt", "one\n", "x.txt holds one side only: name the file of the other with --target"),
        ("x.tsv", "a\tb\nc\n", "x.tsv, line 2 has 1 fields, not 2"),
        ("x.tsv", "a\nb\n", "one field only"),
        ("x.jsonl", '{"a": "1", "b": "2"}\n{"a"\n', "x.jsonl, line 2 is not JSON"),
        ("x.tsv", " \n", "x.tsv is empty"),
        ("x.tsv", "a\0b\tc", "is a binary file"),
        ("x.tsv", "a\tb\na\tc\n", r"too few sources \(1 different\) to divide"),
        ("x.jsonl", '{"a": "1"}\n{"b": "2"}\n', "no pair with text on both sides"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(name, text, said):
    with pytest.raises(GradusError, match=said):
        load_pairs(written(name, text))


def test_wrong_names_are_told():
    with pytest.raises(GradusError, match="no set of pairs, file or folder 'datess'; did you mean 'dates'"):
        load_pairs("datess")
    with pytest.raises(GradusError, match="has its own targets"):
        load_pairs("dates", target="x.txt")
    with pytest.raises(GradusError, match="limit of 0"):
        load_pairs("dates", limit=0)
    with pytest.raises(GradusError, match="does not exist"):
        load_pairs("./dates", target="x")


def test_equal_sources_stay_together_and_folds_cover_everything():
    text = "".join(f"s{i // 2}\tt{i}\n" for i in range(80))
    written("x.tsv", text)
    splits = load_pairs("x.tsv", seed=3)
    sources = [set(part.sources) for part in splits.parts.values()]
    assert not sources[0] & sources[1] | sources[0] & sources[2] | sources[1] & sources[2]
    assert load_pairs("x.tsv", seed=3) == splits
    assert load_pairs("x.tsv", seed=4).test != splits.test
    tested = [set(load_pairs("x.tsv", folds=4, fold=fold).test.sources) for fold in range(4)]
    assert set.union(*tested) == {f"s{i}" for i in range(40)}
    assert sum(map(len, tested)) == 40
    few = load_pairs("x.tsv", limit=5)
    assert {len(part) for part in few.parts.values()} == {5}


MONTHS = [datetime.date(2000, m, 1).strftime("%B").lower() for m in range(1, 13)]
ROMAN = ["i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii"]
ONES = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"]
TEENS = ["thir", "four", "fif", "six", "seven", "eigh", "nine"]
SPELLED = [
    *ONES, "tenth", "eleventh", "twelfth", *(f"{one}teenth" for one in TEENS), "twentieth",
    *(f"twenty-{one}" for one in ONES), "thirtieth", "thirty-first",
]  # fmt: skip
DAYS = [datetime.date(2024, 1, d).strftime("%A").lower() for d in range(1, 8)]
SILENT = {"the", "of", *DAYS, *(day[:3] for day in DAYS)}


def read(text: str) -> datetime.date:
    """Read a date by the rules that the set states, written here a second time."""
    words = text.lower().replace(",", " ").replace("'", " ").split()
    words = [w for w in words if w not in SILENT]
    if len(words) == 1:
        (word,) = words
        mark = next((m for m in "./-" if m in word), "")
        words = word.split(mark) if mark else [word[:4], word[4:6], word[6:]]
        if mark == "/" and len(words[0]) < 3:
            words = [words[1], words[0], words[2]]
    year_first = len(words[0]) == 4 and words[0].isdigit()
    year, rest = (words[0], words[1:]) if year_first else (words[-1], words[:-1])
    year = int(year) if len(year) == 4 else int(year) + (1900 if int(year) >= 69 else 2000)
    month = next((w for w in rest if w.strip(".").isalpha() and w not in SPELLED), None)
    if month is None:
        month, day = (rest[0], rest[1]) if year_first else (rest[1], rest[0])
        return datetime.date(year, int(month), int(day))
    day = next(w for w in rest if w is not month)
    month = month.strip(".")
    number = ROMAN.index(month) + 1 if month in ROMAN else [m[: len(month)] for m in MONTHS].index(month) + 1
    return datetime.date(year, number, SPELLED.index(day) + 1 if day in SPELLED else int(day.rstrip("stndrh")))


def test_every_date_means_what_it_says():
    train = dates().parts["train"]
    assert len(set(train.targets)) == len(train) == len(set(train.sources)) == 24_000
    for source, target in zip(train.sources, train.targets, strict=True):
        assert read(source).isoformat() == target, source
    assert read("1 may 69").year == CENTURY[0]
    assert read("1 may 68").year == CENTURY[-1]


def test_digits_are_reversed_and_sorted():
    for make, truth in ((reversal, lambda text: text[::-1]), (sorting, lambda text: "".join(sorted(text)))):
        train = make().parts["train"]
        assert len(train) == len(set(train.sources)) == 20_000
        assert list(train.targets) == [truth(text) for text in train.sources]
        assert {len(text) for text in train.sources} == set(range(3, 13))


def test_a_damaged_file_of_multi30k_is_noticed():
    Path("multi30k").mkdir()
    Path("multi30k/train.de.gz").write_bytes(gzip.compress(b"Ein Hund.\n"))
    with pytest.raises(GradusError, match="not the published file of multi30k"):
        multi30k(".")


def test_multi30k_has_the_parts_of_its_authors():
    home = os.environ.get("GRADUS_DATA")
    if not home or not Path(home, "multi30k").is_dir():
        pytest.skip("multi30k is not here")
    there, back = load_pairs("multi30k"), load_pairs("multi30k-en-de")
    assert [len(part) for part in there.parts.values()] == [29_000, 1_014, 1_000]
    assert there.test == Pairs(back.test.targets, back.test.sources)
    assert there.test.targets[0] == "A man in an orange hat starring at something."
    assert there.fingerprint != back.fingerprint
