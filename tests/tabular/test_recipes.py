"""The recipes of tables from the command line: files as people have them in, predictions out, mistakes told."""

import csv
import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gradus.app.cli import main
from gradus.engine.loop import fit
from gradus.engine.product import load_from
from gradus.engine.recipe import from_json, to_json
from gradus.engine.run import Run
from gradus.errors import GradusError
from gradus.tabular.recipes import Classify, Regress

HEADER = ["age", "city", "joined", "member", "same", "spent"]


def people(count, start=0):
    """Return rows of a made-up club: the old and the members from Ulm spend much."""
    generator = torch.Generator().manual_seed(start)
    draws = torch.rand(count, 4, generator=generator).tolist()
    rows = []
    for i, (a, b, c, d) in enumerate(draws):
        age, city, member = int(18 + 60 * a), ["Ulm", "Bonn", "Kiel"][int(3 * b)], ["no", "yes"][int(2 * c)]
        spent = 2 * age + 40 * (city == "Ulm") * (member == "yes") + 5 * d
        shown = "" if i % 11 == 5 else str(age)
        rows.append([shown, city, f"20{10 + i % 10}-0{1 + i % 9}-15", member, "7", f"{spent:.2f}"])
    return rows


def write(path, rows, header=HEADER):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows] if header else rows)
    return path


@pytest.fixture
def club(tmp_path):
    return write(tmp_path / "club.csv", people(400))


@pytest.fixture
def cli(capsys):
    def call(*words):
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, json.loads(out) if "--json" in words and code == 0 else out, err

    return call


def trained(cli, *words):
    code, told, err = cli("train", *words, "--quiet", "--json")
    assert code == 0, err
    return told


@pytest.mark.parametrize(
    ("model", "bar"), [("softmax", 0.93), ("tree", 0.9), ("perceptron", 0.6), ("mlp", 0.93), ("logistic", 0.93)]
)
def test_every_classifier_learns(model, bar):
    data = "breast-cancer" if model == "logistic" else "iris"
    recipe = Classify(data=data, model=model, **({"max_steps": 400, "lr": 0.01} if model == "mlp" else {}))
    product = fitted(recipe)
    assert recipe.evaluate(product, "test")["test/accuracy"] >= bar


@pytest.mark.parametrize("model", ["linear", "ridge", "lasso", "tree", "mlp"])
def test_every_regression_learns(model):
    recipe = Regress(model=model, **({"max_steps": 300, "lr": 0.003} if model == "mlp" else {}))
    found = recipe.evaluate(fitted(recipe), "test")
    assert found["test/r2"] > (0.2 if model == "tree" else 0.4)
    assert found["test/mae"] ** 2 < found["test/mse"]


def fitted(recipe):
    run = Run.ephemeral(seed=recipe.seed)
    parts = recipe.build(run)
    fit(parts.learner, parts.source, run=run, steps=parts.steps, watchers=parts.watchers)
    return recipe.product(parts.learner)


def test_a_file_from_training_to_prediction(cli, club, tmp_path):
    words = ("tabular/classify", "--data", club, "--target", "city", "--model", "tree", "--name", "a")
    trained(cli, *words)
    metrics = cli("evaluate", "a", "--json")[1]["metrics"]
    assert set(metrics) == {"test/loss", "test/accuracy", "test/f1"}
    club.unlink()
    fresh = write(tmp_path / "new.csv", [row[:1] + row[2:] for row in people(7, 1)], HEADER[:1] + HEADER[2:])
    code, told, err = cli("predict", "a", fresh, "--out", "p.csv", "--json")
    assert code == 0, err
    assert [row["input"] for row in told["predictions"]] == [f"row {i}" for i in range(1, 8)]
    lines = Path("p.csv").read_text().splitlines()
    assert lines[0] == "input,class,probability,p(Bonn),p(Kiel),p(Ulm)"
    assert math.fsum(told["predictions"][0]["all"]) == pytest.approx(1)
    assert "spent" in Path("runs/a/product/model.txt").read_text()


def test_what_was_found_out_is_told(cli, club):
    code, _, err = cli("train", "tabular/regress", "--data", club, "--target", "spent", "--name", "a")
    assert code == 0
    assert "left out: same (constant)" in err
    schema = json.loads(Path("runs/a/product/product.json").read_text())["schema"]
    kinds = {column["name"]: column["left_out"] or column["kind"] for column in schema["columns"]}
    assert kinds == {"age": "number", "city": "category", "joined": "date", "member": "boolean", "same": "constant"}


def test_crosses_let_a_linear_model_see_what_two_columns_do_together(club):
    settings = {"data": str(club), "target": "spent", "model": "linear", "drop": ("joined",)}
    plain, crossed = Regress(**settings), Regress(**settings, cross=("city*member",))
    errors = [recipe.evaluate(fitted(recipe), "test")["test/mse"] for recipe in (plain, crossed)]
    assert errors[1] < 0.5 * errors[0]


def test_mistakes_at_prediction_name_row_and_column(cli, club, tmp_path):
    trained(cli, "tabular/regress", "--data", club, "--target", "spent", "--name", "a")
    product = Run.load("a", device="cpu")
    good = people(3, 2)
    with pytest.raises(GradusError, match=r"new\.csv, row 2 \(line 3\), column 'age': 'old' is not a number"):
        list(product.read(write(tmp_path / "new.csv", [good[0], ["old", *good[1][1:]], good[2]])))
    with pytest.warns(UserWarning, match="column 'city': 'Rome'"):
        (batch,) = product.read(write(tmp_path / "new.csv", [[good[0][0], "Rome", *good[0][2:]]]))
    assert bool(torch.isfinite(product.predict(batch.inputs)).all())
    with pytest.raises(GradusError, match="has no column 'age'; did you mean 'Age'"):
        list(product.read(write(tmp_path / "new.csv", good, ["Age", *HEADER[1:]])))
    with pytest.raises(GradusError, match=r"row 1 \(line 2\) has 5 fields, but the header has 6"):
        list(product.read(write(tmp_path / "new.csv", [good[0][:-1]])))


def test_predictions_are_those_of_the_training_run(cli, club):
    """Reading the file again gives the rows that the recipe split, whatever their order or batch."""
    for model in ("ridge", "tree"):
        recipe = Regress(data=str(club), target="spent", model=model)
        product = fitted(recipe)
        whole = torch.cat([product.predict(batch.inputs) for batch in product.read(club, batch_size=37)])
        test = recipe.splits().test
        assert torch.allclose(whole[test.rows], product.predict(test.values))


def test_chosen_penalties_and_depths_are_kept():
    recipe = Regress(model="lasso", cross=("age*bmi", "bmi*bp", "age*age", "s1*s2", "s5*s5", "sex*s3"))
    product, found = fitted(recipe), {}
    for alpha in (0.1, 1.0, 3.0, 10.0):
        found[alpha] = recipe.evaluate(fitted(dataclasses.replace(recipe, alpha=alpha)), "val")["val/mse"]
    assert recipe.evaluate(product, "val")["val/mse"] <= min(found.values())
    assert product.facts["chosen"]["alpha"] > 0
    tree = fitted(Classify(model="tree", data="breast-cancer"))
    assert tree.module.network.depth == tree.facts["chosen"]["max_depth"]
    assert fitted(Regress(model="ridge", val_fraction=0.0)).facts["chosen"]["alpha"] == 1.0
    assert fitted(Regress(model="lasso", alpha=2.0)).facts["chosen"]["alpha"] == 2.0
    assert fitted(Classify(model="tree", max_depth=1)).module.network.depth == 1


def test_class_weights_make_rare_classes_count(tmp_path):
    rows = [[f"{i % 10 + 5 * (i % 20 == 0)}", "rare" if i % 20 == 0 else "common"] for i in range(400)]
    file = write(tmp_path / "t.csv", rows, ["x", "y"])
    recalls = []
    for weights in ("none", "balanced"):
        recipe = Classify(data=str(file), target="y", class_weights=weights, val_fraction=0.0, test_fraction=0.0)
        product, train = fitted(recipe), recipe.splits().train
        guesses = product.predict(train.values).argmax(1)
        recalls.append(float((guesses[train.target == 1] == 1).double().mean()))
    assert recalls[1] == 1 > recalls[0]


def test_embeddings_and_weights_reach_the_network(club):
    settings = {"data": str(club), "target": "member", "model": "mlp", "max_steps": 20, "class_weights": "balanced"}
    product = fitted(Classify(**settings, embedding=2, hidden=(8,), norm="batch", dropout=0.1, activation="tanh"))
    assert [table.weight.shape for table in product.module.network.embeddings] == [(2, 3)]
    assert product.module.network.facts()["hidden"] == [8]


def test_products_survive_saving(tmp_path, club):
    for model in ("softmax", "tree", "mlp"):
        product = fitted(Classify(data=str(club), target="member", model=model, embedding=2 * (model == "mlp"),
                                  max_steps=3))  # fmt: skip
        product.save(tmp_path / model / "product")
        again = load_from(tmp_path / model / "product")
        (batch,) = again.read(club)
        assert torch.equal(again.predict(batch.inputs), product.predict(batch.inputs))


def test_a_product_is_a_differentiable_function_of_its_numbers(club):
    product = fitted(Classify(data=str(club), target="member", model="softmax"))
    (batch,) = product.read(club)
    rows = batch.inputs[:4].nan_to_num(nan=50.0).requires_grad_()
    product.scores(rows).sum().backward()
    assert rows.grad is not None


def test_export_is_the_product(tmp_path):
    fitted(Classify(model="tree")).save(tmp_path)
    product = load_from(tmp_path)
    module, example = product.exportable()
    program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    rows = torch.rand(5, 4) * 5
    assert torch.allclose(program.module()(rows), module(rows))


def test_options_that_mean_nothing_together_are_refused():
    for cls, options, said in (
        (Classify, {"model": "tree", "lr": 0.1}, "--lr: the model tree takes none; leave it out, or use mlp"),
        (Classify, {"model": "mlp", "alpha": 0.1}, "--alpha: the model mlp takes none"),
        (Classify, {"model": "tree", "criterion": "variance"}, "for numbers"),
        (Regress, {"model": "tree", "criterion": "gini"}, "for classes"),
        (Classify, {"model": "perceptron", "class_weights": "balanced"}, "weighs no rows"),
        (Classify, {"monitor": "val/auk"}, "--monitor is"),
        (Classify, {"model": "mlp", "hidden": (0,)}, "at least one unit"),
        (Classify, {"model": "mlp", "activation": "rulu"}, "did you mean 'relu'"),
        (Regress, {"model": "mlp", "snapshots": 2}, "leave it out for numbers"),
        (Regress, {"alpha": -1.0}, "--alpha must not be negative"),
        (Regress, {"model": "lasso", "set": ("metod=ista",)}, "did you mean 'method'"),
    ):
        with pytest.raises(GradusError, match=said):
            cls(**options)
    with pytest.raises(GradusError, match="tells two classes apart, and 'species' has 3"):
        Classify(model="logistic").splits()


def test_recipes_survive_json():
    recipe = Classify(model="mlp", hidden=(32, 16), cross=("a*b",), drop=("c",), header="no", limit=5)
    assert from_json(Classify, json.loads(json.dumps(to_json(recipe)))) == recipe


def test_data_that_changed_is_told(club):
    recipe = Regress(data=str(club), target="spent")
    product = fitted(recipe)
    write(club, [[*row[:1], "Wien", *row[2:]] if i % 3 else row for i, row in enumerate(people(400))])
    with pytest.raises(GradusError, match="other columns or values now"):
        recipe.evaluate(product, "test")


def test_a_table_without_validation_or_test(cli, club):
    words = ("--data", club, "--target", "spent", "--val-fraction", "0", "--test-fraction", "0")
    trained(cli, "tabular/regress", *words, "--model", "mlp", "--max-steps", "3", "--name", "a")
    code, _, err = cli("evaluate", "a")
    assert (code, "test part" in err) == (2, True)


def test_the_recipes_import_no_torch():
    code = "import gradus.tabular.recipes, gradus.tabular, sys; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
