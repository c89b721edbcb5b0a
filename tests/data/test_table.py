"""Tables: schemas that survive JSON and read other files, splits without leaks, and what is refused."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.data.table import TableSchema
from gradus.data.table_loading import load_table
from gradus.errors import GradusError

MIXED = "age,colour,member,joined,id,same,income\n" + "".join(
    f"{20 + i % 40},{['red', 'blue', 'green', ''][i % 4]},{['yes', 'no'][i % 2]},2020-0{1 + i % 9}-11,u{i},7,"
    f"{['low', 'high'][(i // 3) % 2]}\n"
    for i in range(120)
)


@pytest.fixture
def mixed(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text(MIXED)
    return path


def refused(said, *args, **settings):
    with pytest.raises(GradusError, match=said):
        load_table(*map(str, args), **settings)


def test_a_mixed_file(mixed):
    splits = load_table(str(mixed), target="income")
    kinds = {column.name: column.left_out or column.kind for column in splits.schema.columns}
    assert kinds["age"] == "number"
    assert (kinds["colour"], kinds["member"], kinds["joined"]) == ("category", "boolean", "date")
    assert kinds["same"] == "constant"
    assert "120 different values in 120 rows" in kinds["id"]
    assert any("same (constant)" in note and "id (" in note for note in splits.notes)
    assert splits.classes == ("high", "low")
    assert splits.table.values.shape == (120, 3 + 5)
    colour = splits.schema.features.index("colour")
    assert int(splits.table.values[:, colour].isnan().sum()) == 30
    assert splits.schema.categories[colour] == ("blue", "green", "red")


def test_schemas_survive_json(mixed):
    schema = load_table(str(mixed), target="income", categorical=("age",)).schema
    assert TableSchema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
    assert "age     category, 40 values: 20, 21, 22, 23, …" in str(schema)
    assert "same    left out: constant" in str(schema)


def test_a_schema_reads_other_files(mixed, tmp_path):
    splits = load_table(str(mixed), target="income")
    schema, other = splits.schema, tmp_path / "other.csv"
    other.write_text("extra;member;joined;colour;age\n1;no;2021-05-05;red;33\n")
    values = schema.values(schema.read(other))
    assert values[0].tolist() == [33, 2, 0, 18752, 2021, 5, 5, 2]
    other.write_text("33,red,no,2021-05-05,u1,7,low\n34,blue,yes,2021-05-06,u2,7,low\n")
    assert schema.values(schema.read(other))[:, 0].tolist() == [33, 34]
    other.write_text("33,red,no,2021-05-05,u1,7\n")
    assert schema.values(schema.read(other)).shape == (1, 8)
    other.write_text("33,red,no,2021-05-05\n")
    assert schema.values(schema.read(other)).shape == (1, 8)
    other.write_text("Age,colour,member,joined\n33,red,no,2021-05-05\n")
    with pytest.raises(GradusError, match="has no column 'age'; did you mean 'Age'"):
        schema.read(other)
    other.write_text("33,red\n")
    with pytest.raises(GradusError, match="rows of 2 fields without a header; the model needs 6"):
        schema.read(other)


def test_whole_files_give_back_the_same_matrix(mixed):
    splits = load_table(str(mixed), target="income")
    raw = splits.schema.read(mixed)
    assert torch.equal(splits.schema.values(raw).nan_to_num(-9), splits.table.values.nan_to_num(-9))
    assert torch.equal(splits.schema.targets(raw), splits.table.target)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 30), val=st.sampled_from([0.0, 0.1, 0.3]), test=st.sampled_from([0.0, 0.2, 0.4]))
def test_splits_are_disjoint_complete_and_stratified(seed, val, test):
    splits = load_table("iris", seed=seed, val_fraction=val, test_fraction=test)
    rows = torch.cat([splits.parts[part] for part in ("train", "val", "test")])
    assert rows.sort().values.tolist() == list(range(150))
    for part, share in (("val", val), ("test", test)):
        counts = torch.bincount(splits.table.target[splits.parts[part]], minlength=3)
        assert counts.sub(50 * share).abs().max() <= 1
    values = {part: {tuple(row) for row in getattr(splits, part).values.tolist()} for part in ("train", "val", "test")}
    assert not values["train"] & values["test"]
    assert not values["train"] & values["val"]


def test_splits_depend_on_the_seed_only():
    first, again, other = (load_table("wine", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.parts["test"], again.parts["test"])
    assert not torch.equal(first.parts["test"], other.parts["test"])


def test_every_row_is_tested_in_one_fold():
    folds = [load_table("iris", folds=5, fold=fold) for fold in range(5)]
    assert torch.cat([fold.parts["test"] for fold in folds]).sort().values.tolist() == list(range(150))
    assert all(len(fold.parts["val"]) for fold in folds)


def test_numbers_to_predict():
    splits = load_table("diabetes", task="regress", limit=50)
    assert splits.classes == ()
    assert splits.train.target.dtype == torch.float64
    assert (len(splits.train), len(splits.val), len(splits.test)) == (50, 44, 50)


def test_rows_without_a_target_are_left_out(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "".join(f"{i},{['a', 'b', ''][i % 3]}\n" for i in range(30)))
    splits = load_table(str(path), target="y")
    assert len(splits.table) == 20
    assert splits.notes[0] == "10 rows without y left out"


def test_ids_that_count_are_noted(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("n,x,y\n" + "".join(f"{i + 1},{i * i % 17},{i % 2}\n" for i in range(60)))
    assert any("n counts the rows" in note for note in load_table(str(path), target="y").notes)


def test_what_cannot_be_used_is_refused(mixed, tmp_path):
    refused("name the column to predict with --target; people.csv has age, colour", mixed)
    refused("--target: people.csv has no column 'incomes'; did you mean 'income'", mixed, target="incomes")
    refused("--drop: .*'colours'; did you mean 'colour'", mixed, target="income", drop=("colours",))
    refused("row 1 .*column 'colour': 'red' is not a number.*tabular/classify", mixed, target="colour", task="regress")
    refused("'same' has one value only", mixed, target="same")
    refused("there is no table, file or folder 'irys'; did you mean 'iris'", "irys")
    refused("none.csv does not exist", tmp_path / "none.csv")
    refused("a limit of 0", "iris", limit=0)
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "".join(f"{i},{i + 0.5}\n" for i in range(60)))
    refused("60 different values in 60 rows, which are no classes: use tabular/regress", path, target="y")
    path.write_text("x,y\n1,a\n2,a\n3,a\n4,b\n")
    refused(r"too few rows of class 'b' \(1 different\) to divide into 3 parts", path, target="y")
    path.write_text("x\n1\n2\n")
    refused("one column only", path, target="x")


def test_a_table_that_is_nowhere_says_where_it_would_be(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("GRADUS_DATA", raising=False)
    refused("adult is not on this machine.*--data-dir or GRADUS_DATA", "adult")
    (tmp_path / "adult.data").write_text("39, State-gov\n")
    refused("is not the published file of adult", "adult", data_dir=tmp_path)
