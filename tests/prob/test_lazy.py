"""Importing the package is free, and all it offers is there."""

import subprocess
import sys

import gradus.prob


def test_importing_the_package_imports_no_torch():
    code = "import sys, gradus.prob; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_name_resolves():
    assert set(gradus.prob.__all__) == set(dir(gradus.prob))
    for name in gradus.prob.__all__:
        assert getattr(gradus.prob, name) is not None
