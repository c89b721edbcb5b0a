"""The registry: the scan agrees with the live view, and nothing torch-free imports torch."""

import subprocess
import sys

import pytest

from gradus import canon
from gradus.errors import GradusError, nearest


def test_scan_equals_live_registry():
    scanned = canon.scan()
    for entry in scanned.values():
        canon.load(entry)
    live = canon.live()
    assert scanned.keys() == live.keys()
    for id, entry in scanned.items():
        assert entry == live[id], id


def test_every_user_name_means_one_method_of_its_kind():
    for kind in {entry.kind for entry in canon.scan().values()}:
        typed = [name for entry in canon.scan().values() if entry.kind == kind for name in entry.names]
        assert len(typed) == len(set(typed)), kind


def test_every_entry_says_what_it_is():
    for entry in canon.scan().values():
        assert entry.summary.endswith("."), entry.id


def test_hyphens_and_underscores_are_alike():
    assert canon.lookup("dataset", "fashion_mnist") == canon.lookup("dataset", "fashion-mnist")


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(GradusError, match="did you mean 'resnet20'"):
        canon.lookup("classifier", "resnet2O", "model")
    assert nearest("zzzz", ["a"]) == "; there is: a"


def test_listing_help_and_flag_errors_import_no_torch():
    code = """
import sys
from gradus.app.cli import main
import gradus, gradus.engine, gradus.nn, gradus.optim, gradus.data, gradus.metrics, gradus.vision, gradus.explain
import gradus.robust, gradus.vision.recipes, gradus.prob, gradus.ode, gradus.backprop.recipes, gradus.tabular.recipes
import gradus.experiments, gradus.experiments.optimizers, gradus.metrics.intervals
assert main(["--help"]) == 0
assert main(["list"]) == 0
assert main(["train", "vision/classify", "--batch-sise", "3"]) == 2
assert main(["train", "vision/classify", "--model", "resnet2O"]) == 2
assert main(["train", "vision/classify", "--set", "dropout=x"]) == 2
assert main(["train", "vision/classify", "--help"]) == 0
assert "torch" not in sys.modules, "torch was imported"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_kind_read_alone_is_that_kind_of_the_whole_registry():
    whole = canon.scan()
    for kind in {entry.kind for entry in whole.values()}:
        assert canon.of_kind(kind) == {id: entry for id, entry in whole.items() if entry.kind == kind}
