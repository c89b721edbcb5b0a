"""Words of the command line to typed dataclasses, and a parser's errors to one sentence."""

import io
import os
import re
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import Any, TypeVar

from gradus.errors import GradusError, nearest

__all__ = ["gather", "parse"]

T = TypeVar("T")
ALIASES = {"--from": "--from-run"}
_FRAME = re.compile(r"[│╭╮╰╯─]+|^\| | \|$|^\+-.*-\+$|^\+-+\+$|-{10,}")


def gather(argv: Sequence[str], flag: str = "--set") -> list[str]:
    """Return the words with every `--set a b` and `--set=c` gathered into one, and aliases replaced."""
    words, sets, inside = [], [], False
    for word in argv:
        name, equals, value = word.partition("=")
        if name == flag:
            inside = True
            if equals:
                sets.append(value)
        elif inside and not word.startswith("--"):
            sets.append(word)
        else:
            inside = False
            words.append(ALIASES.get(name, name) + equals + value)
    return [*words, flag, *sets] if sets else words


def parse(cls: type[T], argv: Sequence[str], prog: str, default: Any = None) -> T:
    """Return a dataclass filled from words.

    Args:
        cls: whose fields are the flags.
        argv: the words.
        prog: what the user typed before them.
        default: an instance whose values stand where no flag is given.

    Raises:
        GradusError: for an unknown flag (with the nearest), a missing or wrong value.
        SystemExit: after `--help`.
    """
    import tyro

    error = io.StringIO()
    columns = os.environ.get("COLUMNS")
    wide = not {"-h", "--help"} & set(argv)
    try:
        if wide:
            os.environ["COLUMNS"] = "1000"  # so that no sentence is broken into lines
        with redirect_stderr(error):
            options = {} if default is None else {"default": default}
            return tyro.cli(cls, args=list(argv), prog=prog, **options)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise GradusError(_sentence(error.getvalue(), prog)) from None
    finally:
        if wide:
            os.environ.pop("COLUMNS", None)
            if columns is not None:
                os.environ["COLUMNS"] = columns


def _sentence(text: str, prog: str) -> str:
    """Return what a framed error message says, as one sentence."""
    lines = [_FRAME.sub("", line).strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()]
    lines = [line for line in lines if line and line not in _TITLES]
    body = (lines or ["the command is not understood"])[0]
    choice = re.match(r"invalid choice '(.*)' for argument '(.*)'\. Expected one of \((.*?),?\)\.", body)
    if choice:
        known = re.findall("'([^']*)'", choice[3])
        return f"{choice[2]}: there is no {choice[1]!r}{nearest(choice[1], known)}"
    number = re.match(r"Error parsing (--[\w-]+)", body)
    if number:
        value = re.findall("'([^']*)'", body)[-1:] or ["nothing"]
        wanted = next((line.split()[-1] for line in lines if line.startswith(number[1] + " ")), "another kind of value")
        return f"{number[1]} takes {_KINDS.get(wanted.rpartition('|')[2].strip('{}'), wanted)}, got {value[0]!r}"
    unknown = re.match(r"Unrecognized options: ([^\s,]+)", body)
    if unknown:
        close = next((re.match(r"--[\w-]+", line) for line in lines[1:] if line.startswith("--")), None)
        return f"there is no flag {unknown[1]}{f'; did you mean {close[0]}?' if close else f'; see {prog} --help'}"
    return f"{body.rstrip('.')}; see {prog} --help"


_TITLES = {"Unrecognized options", "Value error", "Missing argument", "Invalid choice", "Parsing error"}
_KINDS = {"INT": "a whole number", "FLOAT": "a number", "STR": "a word"}
