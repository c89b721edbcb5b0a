"""State trees and checkpoints: nothing is lost on the way to the disk, and damage is noticed."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradus.engine import checkpoint
from gradus.engine.state import join, same, split
from gradus.errors import GradusError

SCALARS = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=5)
ARRAYS = st.sampled_from(
    [torch.arange(6).reshape(2, 3), torch.zeros(0), torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
     torch.tensor(True), torch.tensor([math.nan]), np.arange(3, dtype=np.uint32), torch.randn(3).bfloat16()]
)  # fmt: skip
KEYS = st.integers(-5, 5) | st.text(max_size=3)
TREES = st.recursive(
    SCALARS | ARRAYS,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(TREES)
def test_split_and_join_lose_nothing(tree):
    tensors = {}
    text = json.dumps(split(tree, tensors))
    assert same(join(json.loads(text), tensors), tree)


def test_types_of_containers_and_keys_survive():
    tree = {1: [torch.ones(2), (1, 2.5)], "1": {"inf": math.inf}}
    tensors = {}
    back = join(json.loads(json.dumps(split(tree, tensors))), tensors)
    assert list(back) == [1, "1"]
    assert isinstance(back[1], list)
    assert isinstance(back[1][1], tuple)
    assert back["1"]["inf"] == math.inf


def test_what_cannot_be_kept_is_named():
    with pytest.raises(TypeError, match="state at /a is a set"):
        split({"a": {1, 2}}, {})


def test_same_sees_one_bit():
    a = torch.zeros(3)
    b = a.clone()
    b[0] = -0.0
    assert same({"a": a}, {"a": a.clone()})
    assert not same({"a": a}, {"a": b})


def test_newest_sound_checkpoint_wins(tmp_path):
    for step in (10, 20):
        checkpoint.write(tmp_path, step, {"x": torch.full((4,), float(step))}, {"status": "running"})
    state, head = checkpoint.newest(tmp_path)
    assert head["step"] == 20
    assert state["x"][0] == 20


@pytest.mark.parametrize("damage", ["truncate", "flip", "json", "missing"])
def test_damage_is_noticed_and_the_one_before_is_used(tmp_path, damage):
    for step in (10, 20):
        checkpoint.write(tmp_path, step, {"x": torch.full((400,), float(step))}, {"status": "running"})
    tensors = tmp_path / "step-000020" / "state.safetensors"
    if damage == "truncate":
        tensors.write_bytes(tensors.read_bytes()[:-7])
    elif damage == "flip":
        blob = bytearray(tensors.read_bytes())
        blob[-1] ^= 1
        tensors.write_bytes(blob)
    elif damage == "json":
        path = tmp_path / "step-000020" / "state.json"
        path.write_text(path.read_text().replace('"step": 20', '"step": 21'))
    else:
        tensors.unlink()
    with pytest.warns(UserWarning, match="going back"):
        state, head = checkpoint.newest(tmp_path)
    assert head["step"] == 10
    assert state["x"][0] == 10


def test_every_checkpoint_damaged_is_one_sentence(tmp_path):
    checkpoint.write(tmp_path, 10, {"x": 1}, {})
    (tmp_path / "step-000010" / "state.json").write_text("{")
    with pytest.warns(UserWarning, match="going back"), pytest.raises(GradusError, match="every checkpoint"):
        checkpoint.newest(tmp_path)


def test_full_disk_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    checkpoint.write(tmp_path, 10, {"x": torch.ones(3)}, {})

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_atomically", full)
    with pytest.raises(GradusError, match="the disk is full"):
        checkpoint.write(tmp_path, 20, {"x": torch.ones(3)}, {})
    monkeypatch.undo()
    assert checkpoint.newest(tmp_path)[1]["step"] == 10
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000010"]


def test_prune_keeps_what_it_is_told(tmp_path):
    for step in (10, 20, 30):
        checkpoint.write(tmp_path, step, {"x": 1}, {})
    (tmp_path / ".step-000040.123.tmp").mkdir()
    checkpoint.prune(tmp_path, {10, 30})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000010", "step-000030"]
