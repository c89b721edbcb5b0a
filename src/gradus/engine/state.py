"""State as a tagged tree: nested containers to JSON, their arrays to safetensors, and back without loss.

Plain JSON turns integer keys into strings and tuples into lists, and an optimiser then silently loads nothing.
Here every container carries a tag, so that ``join(split(x)) == x`` with types, keys and dtypes intact:

    tensor {"$t": path}   numpy array {"$n": path}   dict {"$m": [[key, value], …]}   list {"$l": […]}
    tuple {"$u": […]}     non-finite float {"$f": "nan"}                               scalar: itself

No pickle is involved, so a state from a stranger cannot run code.
"""

import math
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["State", "Stateful", "collect", "join", "modules_of", "notice_change", "placed", "restore", "same", "split"]

State = dict[str, Any]
_PLAIN = re.compile(r"[A-Za-z_][\w.-]*")


@runtime_checkable
class Stateful(Protocol):
    """Anything whose state can be taken and put back."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Any) -> Any: ...


def split(value: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """Return `value` as a JSON tree, moving its arrays to `tensors`.

    Args:
        value: nested dicts, lists and tuples of tensors, NumPy arrays and JSON scalars.
        tensors: filled with a contiguous CPU copy of every array, under its path.
        path: where in the tree `value` stands.

    Raises:
        TypeError: for a value of any other type, naming its place.
    """
    if isinstance(value, Tensor):
        if hasattr(value, "full_tensor"):
            value = value.full_tensor()
        tensors[path] = value.detach().to("cpu", copy=True).contiguous()
        return {"$t": path}
    if isinstance(value, np.ndarray):
        tensors[path] = torch.from_numpy(np.array(value, order="C", copy=True))
        return {"$n": path}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        named = [
            (k, v, k if isinstance(k, str) and _PLAIN.fullmatch(k) else f"#{i}")
            for i, (k, v) in enumerate(value.items())
        ]
        return {
            "$m": [[split(k, tensors, f"{path}/{name}#"), split(v, tensors, f"{path}/{name}")] for k, v, name in named]
        }
    if isinstance(value, list | tuple):
        tag = "$l" if isinstance(value, list) else "$u"
        return {tag: [split(v, tensors, f"{path}/{i}") for i, v in enumerate(value)]}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$f": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"state at {path or '/'} is a {type(value).__name__}, which no checkpoint can hold")


_UNTAG: dict[str, Callable[[Any, Callable[[Any], Any], Mapping[str, Tensor]], Any]] = {
    "$t": lambda body, rejoin, tensors: tensors[body],
    "$n": lambda body, rejoin, tensors: tensors[body].numpy(),
    "$m": lambda body, rejoin, tensors: {rejoin(k): rejoin(v) for k, v in body},
    "$l": lambda body, rejoin, tensors: [rejoin(v) for v in body],
    "$u": lambda body, rejoin, tensors: tuple(rejoin(v) for v in body),
    "$f": lambda body, rejoin, tensors: float(body),
}


def join(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return the value that `split` took apart."""
    if not isinstance(tree, dict):
        return tree
    ((tag, body),) = tree.items()
    return _UNTAG[tag](body, lambda part: join(part, tensors), tensors)


def collect(**parts: Stateful) -> State:
    """Return the states of named parts, the usual `state_dict` of a learner."""
    return {name: dict(part.state_dict()) for name, part in parts.items()}


def restore(state: State, **parts: Stateful) -> None:
    """Put back what `collect` took.

    Raises:
        KeyError: if a part has no state.
    """
    for name, part in parts.items():
        part.load_state_dict(state[name])


def notice_change(saved: str, fingerprint: str) -> None:
    """Warn where a state was saved while learning from other data.

    Args:
        saved: fingerprint of the data then.
        fingerprint: of the data now.
    """
    if saved != fingerprint:
        warnings.warn("the data has changed since the run began: it goes on with what is there now", stacklevel=3)


def placed(live: Any, saved: Any) -> Any:
    """Return a saved state with its tensors sharded as the live state's tensors in the same places are."""
    if isinstance(live, Mapping) and isinstance(saved, Mapping):
        return {key: placed(live.get(key), value) for key, value in saved.items()}
    if isinstance(live, list | tuple) and isinstance(saved, list | tuple) and len(live) == len(saved):
        return type(saved)(placed(mine, theirs) for mine, theirs in zip(live, saved, strict=True))
    if hasattr(live, "device_mesh") and isinstance(saved, Tensor):
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(saved, live.device_mesh, live.placements)
    return saved


def same(left: Any, right: Any) -> bool:
    """Return whether two states are bit-identical (NaNs compare by their bits)."""
    a: dict[str, Tensor] = {}
    b: dict[str, Tensor] = {}
    if split(left, a) != split(right, b) or a.keys() != b.keys():
        return False
    return all(a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and _bits(a[k], b[k]) for k in a)


def _bits(a: Tensor, b: Tensor) -> bool:
    return bool(torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))) if a.numel() else True


def modules_of(learner: object) -> dict[str, nn.Module]:
    """Return the modules a learner holds as attributes, by attribute name; a learner may be a module itself."""
    if isinstance(learner, nn.Module):
        return {"": learner}
    return {name: part for name, part in vars(learner).items() if isinstance(part, nn.Module)}
