"""The command line: `gradus VERB …`. Exit codes: 0 done, 1 our fault, 2 the user's, 130/143 stopped and saved.

Nothing here imports torch: help, listings and errors about flags answer at once.
"""

import errno
import json
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from gradus import __version__
from gradus.errors import GradusError, nearest

__all__ = ["VERBS", "main"]

VERBS: dict[str, tuple[str, str]] = {
    "train": ("training:Train", "train a recipe: gradus train vision/classify --data ./photos; or --auto"),
    "resume": ("training:Resume", "go on with a run exactly where it stopped, or extend it"),
    "cross-validate": ("training:CrossValidate", "train and test a recipe on every fold of its data"),
    "experiment": ("experimenting:Experiment", "measure a table and draw its figures: gradus experiment optimizers"),
    "evaluate": ("using:Evaluate", "measure a run on its validation or test split"),
    "predict": ("using:Predict", "predict a file, a folder or a text, as a table or CSV"),
    "complete": ("completing:Complete", "let a language model go on with a text: gradus complete RUN 'Once upon'"),
    "translate": ("translating:Translate", "translate texts, by beam search"),
    "embed": ("embedding:Embed", "vectors of words or texts; nearest words, analogies"),
    "solve": ("solving:Solve", "let a language model write programs that answer questions, run in a sandbox"),
    "explain": ("looking:Explain", "show which pixels or words a prediction rests on"),
    "attack": ("looking:Attack", "measure accuracy against an adversary"),
    "report": ("reporting:Report", "write one self-contained HTML report"),
    "compare": ("comparing:Compare", "put runs side by side, with intervals over seeds"),
    "export": ("exporting:Export", "write the product as a torch.export program"),
    "list": ("listing:List", "list recipes, models, optimisers, data sets … and runs"),
    "show": ("listing:Show", "show a run, or a registered method with its options"),
    "inspect": ("inspecting:Inspect", "the data doctor: look a data set over before training"),
    "prove": ("proving:Prove", "reproduce a number of evidence"),
    "doctor": ("doctoring:Doctor", "exercise every verb on a tiny run; versions, devices, extras"),
}


DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission is denied",
}


def overview() -> str:
    """Return the help page."""
    lines = [f"gradus {__version__}: the deep-learning canon as one working system", "", "usage: gradus VERB …", ""]
    lines += [f"  {verb:<14} {what}" for verb, (_, what) in VERBS.items()]
    lines += [
        "",
        "RUN is a path, a name in ./runs (GRADUS_RUNS or --runs-dir moves it), or `latest`.",
        "`gradus VERB --help` shows a verb's flags, `gradus train RECIPE --help` a recipe's.",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code.

    Args:
        argv: the words after `gradus`; those of the process when left out.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"gradus {__version__}")
        return 0
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn  # type: ignore[assignment]
            return _run(words)
    except GradusError as error:
        print(f"gradus: {error}", file=sys.stderr)
        return 2
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        print("gradus: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in DISK:
            raise
        print(f"gradus: {error.filename or 'a file'} cannot be written: {DISK[error.errno]}", file=sys.stderr)
        return 2


def _run(words: list[str]) -> int:
    verb = words[0]
    if verb not in VERBS:
        raise GradusError(f"there is no verb {verb!r}{nearest(verb, VERBS)}")
    module, name = VERBS[verb][0].split(":")
    command = getattr(import_module(f"gradus.app.{module}"), name)
    parsed = command.parse(words[1:])
    answer = parsed()
    if parsed.json:
        print(json.dumps(answer.data))
    elif answer.text:
        print(answer.text)
    return answer.code


def _warn(message: Warning | str, category: type[Warning], filename: str, lineno: int, *rest: object) -> None:
    """Show our own warnings as sentences, and hold back those of the libraries beneath."""
    if f"{os.sep}gradus{os.sep}" in filename and issubclass(category, UserWarning):
        print(f"gradus: warning: {message}", file=sys.stderr)
