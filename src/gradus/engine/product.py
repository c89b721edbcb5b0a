"""Saving and loading products: weights in safetensors, everything else in `product.json`, hashed and checked.

product/  model.safetensors   raw.safetensors (beside an averaged model)   product.json
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from gradus import canon
from gradus.engine.device import pick_device
from gradus.engine.folder import RunFolder, digest, write_atomically
from gradus.engine.group import members
from gradus.engine.state import State
from gradus.errors import GradusError

__all__ = ["load_from", "load_product", "load_weights", "read_product", "save_product"]


def save_product(folder: Path, kind: str, facts: State, weights: dict[str, dict[str, Tensor]]) -> None:
    """Write a product folder.

    Args:
        folder: where; made when missing.
        kind: the registered name that loads it again.
        facts: constructor arguments, classes, preprocessing: JSON literals.
        weights: state dicts by file stem (`model`, `raw`).
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stem, state in weights.items():
            tensors = {name: t.detach().to("cpu").contiguous().clone() for name, t in state.items()}
            write_atomically(folder / f"{stem}.safetensors", save(tensors))
        body = {"format": 1, "product": kind, **facts}
        write_atomically(folder / "product.json", json.dumps({**body, "sha256": digest(body)}, indent=1) + "\n")
    except OSError as error:
        raise GradusError(
            f"the product could not be written to {folder} ({error.strerror}): make room and resume"
        ) from None


def read_product(folder: Path) -> State:
    """Return `product.json`, checked.

    Raises:
        GradusError: if there is no product, or it was damaged.
    """
    run = folder.parent
    try:
        body = json.loads((folder / "product.json").read_text(encoding="utf-8"))
        claimed = body.pop("sha256")
    except FileNotFoundError:
        if not (run / "recipe.json").exists():
            raise GradusError(f"{run} is not a run folder: it has no recipe.json") from None
        raise GradusError(f"run {run.name!r} has no product yet: finish it with `gradus resume {run.name}`") from None
    except (ValueError, KeyError, AttributeError):
        raise GradusError(f"{folder / 'product.json'} is damaged: train again, or resume the run") from None
    if claimed != digest(body):
        raise GradusError(
            f"{folder / 'product.json'} was edited by hand: restore it, or resume the run to write it again"
        )
    return body


def load_weights(module: nn.Module, folder: Path, stem: str = "model") -> None:
    """Load a product's weights into a module.

    Raises:
        GradusError: if the file is damaged or belongs to another model.
    """
    path = folder / f"{stem}.safetensors"
    try:
        module.load_state_dict(load(path.read_bytes()))
    except (OSError, SafetensorError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise GradusError(
            f"{path} does not hold this model's weights ({first}): resume the run to write it again"
        ) from None


def load_product(run: Path, device: str = "auto") -> Any:
    """Return the product of a run folder on a device, ready to use; of a group, the ensemble of its members.

    Raises:
        GradusError: if there is none, or it is damaged, or the device is absent.
    """
    group = members(RunFolder(run))
    if group:
        from gradus.engine.ensembles import together

        return together([load_product(member.path, device) for member in group], run.name)
    place = pick_device(device)
    product = load_from(run / "product")
    product.module.to(place)
    return product


def load_from(folder: Path) -> Any:
    """Return the product of a folder that `Product.save` wrote, in evaluation mode; raises as `read_product` does."""
    facts = read_product(folder)
    product = canon.find("product", facts["product"]).load(folder, facts)
    product.module.eval()
    return product
