"""Labelled texts: what is read from files, folders and registered sets, how it is divided, and what is refused."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.data.labelled_text import TextSplits, load_labelled, texts_of
from gradus.errors import GradusError

SHARED = Path(__file__).parents[3] / "shared" / "data"
WORDS = ("sun", "moon", "rain", "snow", "wind", "hail", "fog", "ice", "heat", "dew", "mist", "storm")


def written(path: Path, count: int = 40, head: str = "text,label") -> Path:
    rows = [f"a day of {WORDS[i % 12]} number {i},{'good' if i % 2 else 'bad'}" for i in range(count)]
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def everything(splits: TextSplits) -> list[tuple[str, str]]:
    parts = (splits.train, splits.val, splits.test)
    return sorted((t, splits.classes[k]) for part in parts for t, k in zip(part.texts, part.labels.tolist()))


def refused(said: str, data, **options) -> None:
    with pytest.raises(GradusError, match=said):
        load_labelled(str(data), **options)


def test_a_csv_is_divided_and_nothing_is_lost(tmp_path: Path) -> None:
    splits = load_labelled(str(written(tmp_path / "days.csv")))
    assert splits.classes == ("bad", "good")
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [28, 4, 8]
    assert len(set(everything(splits))) == 40
    assert splits.test.labels.double().mean() == 0.5
    assert splits.columns == ("text",)


def test_csv_tsv_jsonl_and_folders_hold_the_same(tmp_path: Path) -> None:
    wanted = everything(load_labelled(str(written(tmp_path / "days.csv"))))
    tsv, lines, packed = tmp_path / "days.tsv", tmp_path / "days.jsonl", tmp_path / "days.csv.gz"
    tsv.write_text("label\ttext\n" + "".join(f"{k}\t{t}\n" for t, k in wanted))
    lines.write_text("".join(json.dumps({"text": t, "label": k}) + "\n" for t, k in wanted))
    packed.write_bytes(gzip.compress((tmp_path / "days.csv").read_bytes()))
    by_line, by_file = tmp_path / "by-line", tmp_path / "by-file"
    by_line.mkdir()
    for name in ("good", "bad"):
        own = [t for t, k in wanted if k == name]
        (by_line / f"{name}.txt").write_text("\n".join(own) + "\n\n")
        (by_file / name).mkdir(parents=True)
        for i, text in enumerate(own):
            (by_file / name / f"{i}.txt").write_text(text + "\n")
    for data in (tsv, lines, packed, by_line, by_file):
        assert everything(load_labelled(str(data))) == wanted


def test_a_folder_may_be_divided_already(tmp_path: Path) -> None:
    for part, start in (("train", 0), ("valid", 10), ("test", 20)):
        for name in ("x", "y"):
            (tmp_path / "set" / part).mkdir(parents=True, exist_ok=True)
            body = "\n".join(f"{name} {i}" for i in range(start, start + 3))
            (tmp_path / "set" / part / f"{name}.txt").write_text(body)
    splits = load_labelled(str(tmp_path / "set"))
    assert [sorted(part.texts) for part in (splits.train, splits.val, splits.test)] == [
        ["x 0", "x 1", "x 2", "y 0", "y 1", "y 2"], ["x 10", "x 11", "x 12", "y 10", "y 11", "y 12"],
        ["x 20", "x 21", "x 22", "y 20", "y 21", "y 22"],
    ]  # fmt: skip


def test_columns_are_found_by_name_and_else_by_length(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f"{i},short,a rather long remark about {WORDS[i % 12]} {i},{i % 3}" for i in range(60)]
    path.write_text("\n".join(["id,title,remark,Class", *rows]))
    splits = load_labelled(str(path))
    assert splits.columns == ("remark",)
    assert splits.classes == ("0", "1", "2")
    assert load_labelled(str(path), text="title", val_fraction=0, test_fraction=0).train.texts[0] == "short"
    paired = load_labelled(str(path), text="title", pair="remark")
    assert paired.columns == ("title", "remark")
    assert paired.train.inputs[0] == (paired.train.texts[0], paired.train.pairs[0])


def test_numbered_classes_are_sorted_by_size(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["text,label", *(f"text number {i},{i % 11}" for i in range(66))]))
    assert load_labelled(str(path)).classes == tuple(map(str, range(11)))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 25), min_size=30, max_size=60), st.integers(0, 5))
def test_equal_texts_never_stand_on_two_sides(numbers: list[int], seed: int) -> None:
    import tempfile

    numbers = [*numbers, *range(26)]
    with tempfile.TemporaryDirectory() as home:
        path = Path(home, "a.csv")
        # The same words with other blanks are the same text.
        rows = [f"{'word' if i % 2 else 'word '} {n},{'ab'[n % 2]}" for i, n in enumerate(numbers)]
        path.write_text("\n".join(["text,label", *rows]))
        splits = load_labelled(str(path), seed=seed, val_fraction=0.2)
    sides = [{" ".join(t.split()) for t in part.texts} for part in (splits.train, splits.val, splits.test)]
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert len(everything(splits)) == len(numbers)


def test_folds_test_each_text_once(tmp_path: Path) -> None:
    path = written(tmp_path / "days.csv")
    tested = [t for fold in range(5) for t in load_labelled(str(path), folds=5, fold=fold).test.texts]
    assert len(tested) == len(set(tested)) == 40


def test_the_seed_decides_and_a_limit_thins(tmp_path: Path) -> None:
    path = str(written(tmp_path / "days.csv"))
    assert load_labelled(path).test.texts == load_labelled(path).test.texts
    assert load_labelled(path).test.texts != load_labelled(path, seed=1).test.texts
    small = load_labelled(path, limit=6)
    assert [len(part) for part in (small.train, small.val, small.test)] == [6, 4, 6]
    assert small.train.labels.double().mean() == 0.5


def test_rows_without_text_or_class_are_left_out_and_said(tmp_path: Path) -> None:
    path = written(tmp_path / "days.csv")
    with open(path, "a") as file:
        file.write(",good\nsomething,\n")
    splits = load_labelled(str(path))
    assert len(everything(splits)) == 40
    assert splits.notes == ("2 rows without a text or a class left out",)


def test_the_fingerprint_follows_contents_and_columns(tmp_path: Path) -> None:
    path = written(tmp_path / "days.csv")
    first = load_labelled(str(path)).fingerprint
    assert load_labelled(str(path)).fingerprint == first
    written(path, 42)
    assert load_labelled(str(path)).fingerprint != first


def test_python_docs_are_on_every_machine() -> None:
    splits = load_labelled("python-docs")
    assert len(splits.classes) == 6
    assert min(splits.train.labels.bincount().tolist()) > 100
    assert len(splits.test) > 500


@pytest.mark.skipif(not (SHARED / "sst").exists(), reason="the published data is not here")
def test_published_splits_stay_as_they_are() -> None:
    splits = load_labelled("sst2", data_dir=SHARED, val_fraction=0.5, test_fraction=0.4)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [6920, 872, 1821]
    trec = load_labelled("trec", data_dir=SHARED)
    assert len(trec.test) == 500
    assert len(trec.train) + len(trec.val) == 5452
    assert 500 < len(trec.val) < 560
    halves = load_labelled("movie-review-polarity", data_dir=SHARED)
    assert len(halves.test) == pytest.approx(2132, abs=2)


def test_a_changed_file_is_not_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "subj.all").write_text("0 a\n1 b\n")
    refused("not the published file of subj", "subj", data_dir=tmp_path)


def test_what_is_refused_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRADUS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = written(tmp_path / "days.csv")
    refused("no text set, file or folder 'sst3'; did you mean 'sst[25]'", "sst3")
    refused("none.csv does not exist", tmp_path / "none.csv")
    refused("sst2 is not on this machine.*--data-dir or GRADUS_DATA", "sst2")
    refused("--target: the data 'python-docs' has no columns", "python-docs", target="label")
    refused("--target: days.csv has no column 'lable'; did you mean 'label'", path, target="lable")
    refused("--text-column: days.csv has no column 'test'; did you mean 'text'", path, text="test")
    refused("--pair-column: days.csv has no column 'other'", path, pair="other")
    refused("must be different columns", path, pair="text")
    refused("a limit of 0", path, limit=0)
    refused("leave nothing to train on", path, val_fraction=0.5, test_fraction=0.5)
    refused("name the column of classes with --target; days.csv has words, kind",
            written(path, head="words,kind"), text="words")  # fmt: skip


def test_bad_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    def made(name: str, body: str | bytes) -> Path:
        (tmp_path / name).write_bytes(body if isinstance(body, bytes) else body.encode())
        return tmp_path / name

    refused("column 'label' of one.csv has one class only \\('x'\\)", made("one.csv", "text,label\na,x\nb,x\n"))
    refused("column 'text' of gone.csv is empty", made("gone.csv", "text,label\n,x\n,y\n"))
    refused("different values in 120 rows, which are no classes",
            made("ids.csv", "text,label\n" + "".join(f"text {i},id{i}\n" for i in range(120))))  # fmt: skip
    refused("is a binary file", made("a.bin", b"abc\0\1\2"))
    refused("binary file|no text", made("b.csv", b"text,label\n\0\1\2,x\n"))
    refused("is empty", made("empty.csv", ""))
    refused("has no columns", made("plain.txt", "one text\nanother\n"))
    refused(r"too few texts of class 'y' \(1 different\) to divide into 3 parts",
            made("few.csv", "text,label\nodd,y\nodd,y\n" + "".join(f"text {i},x\n" for i in range(9))))  # fmt: skip
    (tmp_path / "folder" / "only").mkdir(parents=True)
    made("folder/only/a.txt", "hello")
    refused("has one class only \\('only'\\)", tmp_path / "folder")
    (tmp_path / "nothing").mkdir()
    refused("has no classes", tmp_path / "nothing")


def test_texts_to_classify_are_lines_a_column_or_files(tmp_path: Path) -> None:
    plain = tmp_path / "a.txt"
    plain.write_text("one\n\ntwo words\n")
    assert texts_of(plain) == (["line 1", "line 3"], ["one", "two words"], None)
    table = tmp_path / "a.csv"
    table.write_text("id,remark,other\n1,good day,x\n2,bad day,y\n")
    assert texts_of(table, ("remark",)) == (["row 1", "row 2"], ["good day", "bad day"], None)
    assert texts_of(table, ("remark", "other"))[2] == ["x", "y"]
    assert texts_of(table)[1] == ["good day", "bad day"]
    with pytest.raises(GradusError, match="has no column 'remarks'; did you mean 'remark'"):
        texts_of(table, ("remarks",))
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "b.txt").write_text("the second\n")
    (folder / "a.txt").write_text("the first\n")
    assert texts_of(folder) == (["a.txt", "b.txt"], ["the first", "the second"], None)
