"""Gradus: the deep-learning canon as one working system, driven by one engine and kept in one kind of run folder."""

from gradus.errors import GradusError
from gradus.lazy import attach

__version__ = "0.1.0"
__all__ = ["GradusError", "Recipe", "Run", "Stop", "Updater", "__version__", "fit"]

_lazy, __dir__ = attach(__name__, {"engine": ("Recipe", "Run", "Stop", "Updater", "fit")})


def __getattr__(name: str) -> object:
    return _lazy(name)
