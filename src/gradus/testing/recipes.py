"""The contract of recipes: what every one of them does on the command line, on its own embedded data.

`check_recipe` needs no test framework; it raises an AssertionError that says what was broken.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradus.app.cli import main
from gradus.engine.capabilities import CAPABILITIES
from gradus.engine.recipe import Recipe, from_json, recipe_class, to_json
from gradus.engine.run import Run
from gradus.errors import GradusError

__all__ = ["capable", "check_recipe"]


def check_recipe(id: str, *flags: str) -> None:
    """Assert the contract of a registered recipe.

    Its defaults round-trip through JSON and unknown or mistyped options are refused; it trains with `--fast-dev-run`;
    a wrong flag writes nothing; resuming the finished run changes nothing; `evaluate --json` prints one JSON object of
    finite numbers, twice the same; the product loads and can do what the recipe says.

    Args:
        id: of the recipe.
        flags: further words of the command line, where the defaults are too slow.

    Raises:
        AssertionError: naming what was broken.
    """
    cls = recipe_class(id)
    _check_data(cls)
    with tempfile.TemporaryDirectory() as home:
        _check_refusal(id, home)
        folder = _check_training(id, home, flags)
        _check_file(cls, id, folder)
        _check_resuming(folder, home)
        _check_evaluation(folder, home)
        _check_product(cls, folder)


def _run(*words: str) -> tuple[int, str, str]:
    """Run one command in this process; return its exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(words))
    return code, out.getvalue(), err.getvalue()


def _refusal(attempt: Callable[[], Any], what: str) -> str:
    """Return the sentence with which something is refused."""
    try:
        attempt()
    except GradusError as error:
        return str(error)
    raise AssertionError(f"{what} is accepted")


def _check_data(cls: type[Recipe]) -> None:
    assert dataclasses.is_dataclass(cls), f"{cls.__name__} is no dataclass"
    recipe = cls()
    options = json.loads(json.dumps(to_json(recipe)))
    assert from_json(cls, options) == recipe, "the default recipe does not round-trip through JSON"
    for key, value in (("no_such_option", 1), ("seed", "three")):
        wrong = {**options, key: value}
        told = _refusal(lambda wrong=wrong: from_json(cls, wrong), f"the option {key!r} = {value!r} from JSON")
        assert key in told, f"refusing {key!r}, the message does not name it: {told}"
    for field in dataclasses.fields(cls):
        assert not dataclasses.is_dataclass(field.type), f"{field.name} is nested: the fields of a recipe are its flags"
    told = _refusal(lambda: cls(seed=-1), "a negative seed")
    assert "seed" in told, f"a negative seed is refused without naming it: {told}"


def _check_refusal(id: str, home: str) -> None:
    code, out, err = _run("train", id, "--no-such-flag", "1", "--runs-dir", home)
    assert code == 2, f"a wrong flag ended with {code}, not 2"
    assert not out, f"a wrong flag printed to standard output: {out[:80]}"
    assert len(err.strip().splitlines()) == 1, f"a wrong flag is told in more than one line: {err}"
    assert not any(Path(home).iterdir()), "a wrong flag left something behind"


def _check_training(id: str, home: str, flags: tuple[str, ...]) -> Path:
    words = (
        "train",
        id,
        "--fast-dev-run",
        "--name",
        "tiny",
        "--runs-dir",
        home,
        "--quiet",
        "--device",
        "cpu",
        "--json",
    )
    code, out, err = _run(*words, *flags)
    assert code == 0, f"training ended with {code}: {err}"
    told = _one_object(out, "train --json")
    assert told.get("run") == "tiny", f"train --json does not tell the run's name: {told}"
    assert told.get("steps", 0) >= 1, f"train --json does not tell how many steps were made: {told}"
    folder = Path(home, "tiny")
    for name in ("recipe.json", "metrics.csv", "checkpoints", "product/product.json"):
        assert (folder / name).exists(), f"the run folder has no {name}"
    code, _, err = _run(*words)
    assert code == 2, f"training into an existing run ended with {code}, not 2"
    assert "tiny" in err, f"training into an existing run does not name it: {err}"
    return folder


def _one_object(text: str, what: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        raise AssertionError(f"{what} did not print exactly one JSON object: {text[:200]!r}") from None
    assert isinstance(found, dict), f"{what} printed a {type(found).__name__}, not one JSON object"
    return found


def _check_file(cls: type[Recipe], id: str, folder: Path) -> None:
    body = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    assert body["recipe"] == id, f"recipe.json names {body['recipe']!r}"
    missing = {field.name for field in dataclasses.fields(cls)} - body["options"].keys()
    assert not missing, f"recipe.json leaves out {', '.join(sorted(missing))}"
    recipe = from_json(cls, body["options"])
    assert recipe.fast_dev_run, "recipe.json does not hold the flags"
    assert to_json(recipe) == body["options"], "recipe.json does not give the recipe back"


def _digests(folder: Path) -> dict[str, str]:
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != ".lock"]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _check_resuming(folder: Path, home: str) -> None:
    before = _digests(folder)
    code, _, err = _run("resume", folder.name, "--runs-dir", home, "--quiet")
    assert code == 0, f"resuming the finished run ended with {code}: {err}"
    after = _digests(folder)
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    assert not changed, f"resuming the finished run changed {', '.join(sorted(changed))}"


def _check_evaluation(folder: Path, home: str) -> None:
    words = ("evaluate", folder.name, "--runs-dir", home, "--device", "cpu", "--json")
    code, out, err = _run(*words)
    assert code == 0, f"evaluate ended with {code}: {err}"
    told = _one_object(out, "evaluate --json")
    assert told.get("run") == folder.name, f"evaluate --json does not tell the run's name: {told}"
    assert told.get("metrics"), "evaluate measured nothing"
    for name, value in told["metrics"].items():
        assert name.startswith("test/"), f"evaluate measures the test split by default, but says {name!r}"
        assert isinstance(value, float), f"{name} is a {type(value).__name__}"
        assert math.isfinite(value), f"{name} is {value}"
    again = _one_object(_run(*words)[1], "evaluate --json")
    assert again == told, "evaluating twice gave different numbers"


def capable(product: Any, capability: str) -> bool:
    """Return whether a product has a capability, named by its protocol or by a verb that asks for it."""
    if capability in CAPABILITIES:
        return isinstance(product, CAPABILITIES[capability][0])
    held = [kind for kind, verbs in CAPABILITIES.values() if capability in verbs]
    assert held, f"there is no capability {capability!r}"
    return any(isinstance(product, kind) for kind in held)


def _check_product(cls: type[Recipe], folder: Path) -> None:
    product = Run.load(folder, device="cpu")
    assert " at 0x" not in repr(product), f"repr of the product says nothing: {product!r}"
    assert isinstance(getattr(product, "kind", None), str), "the product has no `kind`, which messages need"
    assert cls.capabilities, f"{cls.__name__}.capabilities is empty: say what the product can do"
    for capability in cls.capabilities:
        assert capable(product, capability), f"the recipe says its product can {capability}, but {product!r} cannot"
    with tempfile.TemporaryDirectory() as other:
        copy = Path(other, "run", "product")
        product.save(copy)
        kept, again = _digests(folder / "product"), _digests(copy)
        lost = [name for name in again if kept.get(name) != again[name]]
        assert again, "saving the product writes nothing"
        assert not lost, f"saving the loaded product again gives another {', '.join(lost)}"
