"""The rooms' doors open without torch, and every name behind them is the thing, not the module of that name."""

import importlib
import inspect
import subprocess
import sys

import pytest

ROOMS = ["gradus.explain", "gradus.robust", "gradus.metrics"]


def test_importing_the_rooms_imports_no_torch():
    code = f"import sys, {', '.join(ROOMS)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("room", ROOMS)
def test_names_are_things_even_after_their_module_was_imported(room):
    door = importlib.import_module(room)
    for name in door.__all__:
        thing = getattr(door, name)
        assert not inspect.ismodule(thing), name
        assert not inspect.ismodule(getattr(door, name)), name
        assert name in dir(door)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        door.nothing
