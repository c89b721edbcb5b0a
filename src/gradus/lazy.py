"""Lazy package attributes (PEP 562): a package names what it offers, and a module is imported when one is asked for.

Importing a package therefore costs nothing, which keeps torch out of help, listings and errors about flags.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["attach"]


def attach(package: str, homes: Mapping[str, tuple[str, ...]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` of a package.

    Args:
        package: the package's `__name__`.
        homes: module name (relative to the package) to the names it gives.
    """
    clash = [module for module, names in homes.items() if module in names]
    assert not clash, f"{package}.{clash[0]} would hide the name it gives: call the module something else"
    home = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{home[name]}"), name)

    def list_names() -> list[str]:
        return sorted(home)

    return get, list_names
