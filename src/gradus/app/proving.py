"""`gradus prove`: reproduce a number of the evidence, from a clean source tree, and write it down.

`evidence/proofs.toml` says what is claimed, how it is measured, and the bar it must clear. A proof either trains a
recipe over its seeds and evaluates each run on the test split, or calls a function of the source tree that returns
numbers. What comes out is `evidence/<area>/<id>.json`, with every seed listed. Evidence is stale when what it depends
on has changed since its commit.
"""

import datetime
import json
import operator
import os
import platform
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, ClassVar

from gradus.app.verb import Answer, Verb
from gradus.engine.folder import write_atomically
from gradus.engine.group import interval
from gradus.errors import GradusError, nearest

__all__ = ["Prove", "Proof", "proofs", "table"]

COMPARE: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le}
PACKAGES = (
    "torch", "numpy", "torchvision", "timm", "lightning", "keras", "gymnasium", "scikit-learn", "tokenizers",
    "transformers", "gensim",
)  # fmt: skip


@dataclass(frozen=True)
class Proof:
    """One claim of `evidence/proofs.toml`.

    Attributes:
        id: `<area>/<slug>`.
        claim: one sentence.
        bars: metric to condition, such as `{"test/accuracy": ">= 0.991"}`.
        train: words of `gradus train` (without seed and name), for a proof by training.
        measure: `module:function` of the source tree, for any other; called with `arguments`.
        arguments: keyword arguments of `measure`.
        short: words or arguments put in their place by `--short`.
        seeds: the seeds of a proof by training.
        reference: where the bar comes from.
        depends: paths whose change makes the evidence stale.
        hours: what it takes, on the stated device.
        device: cpu or cuda.
    """

    id: str
    claim: str
    bars: Mapping[str, str]
    train: str = ""
    measure: str = ""
    arguments: Mapping[str, Any] = None  # type: ignore[assignment]
    short: Any = None
    seeds: Sequence[int] = (0,)
    reference: str = ""
    depends: Sequence[str] = ("src/gradus",)
    hours: float = 0.0
    device: str = "cpu"


def root() -> Path:
    """Return the root of the source tree that holds the evidence.

    Raises:
        GradusError: if the package is not used from its source tree.
    """
    here = Path(__file__).resolve().parents[3]
    if not (here / "evidence" / "proofs.toml").exists():
        raise GradusError("`gradus prove` needs the source tree: clone it, and run this there after `make test`")
    return here


def proofs() -> dict[str, Proof]:
    """Return every claim by its id."""
    with open(root() / "evidence" / "proofs.toml", "rb") as file:
        areas = tomllib.load(file)
    return {
        f"{area}/{slug}": Proof(f"{area}/{slug}", **body)
        for area, found in areas.items()
        for slug, body in found.items()
    }


@dataclass(kw_only=True)
class Prove(Verb):
    """Reproduce a number of the evidence: gradus prove vision/lenet-mnist."""

    id: str = ""
    """Which claim (also given as the first word); none lists them all."""
    short: bool = False
    """Run the short form only; nothing is written."""
    check: bool = False
    """Measure and compare with the bar; nothing is written, and the tree may be changed."""
    data_dir: str | None = None
    """Where data sets are looked for; GRADUS_DATA when left out."""

    operands: ClassVar[tuple[str, ...]] = ("id",)

    def __call__(self) -> Answer:
        """List the claims, or measure one."""
        known = proofs()
        if not self.id:
            rows = [describe(proof) for proof in known.values()]
            lines = [f"  {row['id']:<28} {row['state']:<8} {row['claim']}" for row in rows]
            return Answer({"proofs": rows}, "\n".join(lines))
        if self.id not in known:
            raise GradusError(f"there is no proof {self.id!r}{nearest(self.id, known)}")
        proof, home = known[self.id], root()
        writing = not (self.short or self.check)
        if writing and (changed := _git("status", "--porcelain", "--", ".", ":!evidence", ":!README.md")):
            raise GradusError(f"evidence is written from a clean tree only: commit or undo {changed.split()[-1]} first")
        sys.path.insert(0, str(home))
        started = time.perf_counter()
        found = measured(proof, self.short, self.data_dir)
        seconds = round(time.perf_counter() - started, 1)
        verdicts = {} if self.short else judge(proof, found["values"])
        body = {
            "id": proof.id, "claim": proof.claim, "reference": proof.reference, "bars": dict(proof.bars), **found,
            "passed": all(verdicts.values()), "seconds": seconds, **circumstances(),
        }  # fmt: skip
        if writing:
            path = home / "evidence" / f"{proof.id}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(body, indent=1) + "\n")
            refresh(home / "README.md")
        lines = [f"{proof.id}: {proof.claim}"]
        for name, value in found["values"].items():
            bar = proof.bars.get(name, "")
            verdict = {True: "met", False: "MISSED", None: ""}[verdicts.get(name)]
            lines.append(f"  {name:<32} {value:<12.6g} {bar:<10} {verdict}".rstrip())
        return Answer(body, "\n".join(lines), 0 if body["passed"] else 1)


def measured(proof: Proof, short: bool, data_dir: str | None) -> dict[str, Any]:
    """Return what a proof measures: `values` by name, and how they were measured."""
    if proof.measure:
        module, _, function = proof.measure.partition(":")
        arguments = {**(proof.arguments or {}), **((proof.short or {}) if short else {})}
        found = getattr(import_module(module), function)(**arguments)
        words = " ".join(f"{key}={value}" for key, value in arguments.items())
        return {"command": f"{proof.measure}({words})", **(found if "values" in found else {"values": found})}
    words = proof.short if short and proof.short else proof.train
    seeds = proof.seeds[:1] if short else proof.seeds
    runs = [_train(words, seed, data_dir) for seed in seeds]
    summary = {name: interval([run[name] for run in runs]) for name in runs[0]}
    return {
        "command": f"gradus train {words} --seed {{seed}}; gradus evaluate RUN --split test",
        "values": {name: found["mean"] for name, found in summary.items()},
        "intervals": summary,
        "seeds": {str(seed): run for seed, run in zip(seeds, runs, strict=True)},
    }


def _train(words: str, seed: int, data_dir: str | None) -> dict[str, float]:
    """Train one seed and evaluate it on the test split, once."""
    from gradus.app.cli import main

    with tempfile.TemporaryDirectory() as home:
        extra = ["--data-dir", data_dir] if data_dir else []
        with redirect_stdout(sys.stderr):
            code = main(["train", *words.split(), "--seed", str(seed), "--name", "proof", "--runs-dir", home, *extra])
        if code:
            raise GradusError(f"the training of seed {seed} ended with exit code {code}; see its message above")
        import io

        out = io.StringIO()
        with redirect_stdout(out):
            main(["evaluate", "proof", "--split", "test", "--runs-dir", home, "--json"])
        return json.loads(out.getvalue())["metrics"]


def judge(proof: Proof, values: Mapping[str, float]) -> dict[str, bool]:
    """Return for every bar whether it is cleared.

    Raises:
        KeyError: if the measurement lacks what a bar is about.
    """
    verdicts = {}
    for name, condition in proof.bars.items():
        sign, number = condition.split()
        verdicts[name] = COMPARE[sign](values[name], float(number))
    return verdicts


def circumstances() -> dict[str, Any]:
    """Return versions, hardware, commit and date."""
    import torch

    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "versions": versions,
        "hardware": {"machine": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
                     "cpu": torch.backends.cpu.get_cpu_capability(), "accelerator": device},
        "commit": _git("rev-parse", "HEAD"),
        "date": datetime.date.today().isoformat(),
    }  # fmt: skip


def describe(proof: Proof) -> dict[str, Any]:
    """Return a claim with the state of its evidence: proven, missed, stale or pending."""
    path = root() / "evidence" / f"{proof.id}.json"
    row: dict[str, Any] = {"id": proof.id, "claim": proof.claim, "bars": dict(proof.bars), "state": "pending"}
    if path.exists():
        body = json.loads(path.read_text(encoding="utf-8"))
        row |= {"values": body["values"], "commit": body["commit"], "state": "proven" if body["passed"] else "missed"}
        if _git("diff", "--name-only", body["commit"], "HEAD", "--", *proof.depends) != "":
            row["state"] = "stale"
    return row


def table() -> str:
    """Return the evidence as a Markdown table; the README's is made by this."""
    lines = []
    for proof in proofs().values():
        path = root() / "evidence" / f"{proof.id}.json"
        if not path.exists():
            continue
        body = json.loads(path.read_text(encoding="utf-8"))
        cells = "<br>".join(f"{name} {body['values'][name]:.4g}" for name in body["bars"])
        bars = "<br>".join(body["bars"].values()) + ("" if body["passed"] else " (missed)")
        lines.append(f"| {body['claim']} (`{proof.id}`) | {cells} | {bars} |")
    return "\n".join(["| claim | measured | bar |", "|---|---|---|", *lines]) if lines else "Nothing yet."


def refresh(readme: Path) -> None:
    """Write the evidence into the README, between its two marks."""
    head, mark, rest = readme.read_text(encoding="utf-8").partition("<!-- evidence -->")
    _, end, tail = rest.partition("<!-- /evidence -->")
    write_atomically(readme, f"{head}{mark}\n{table()}\n{end}{tail}")


def _git(*words: str) -> str:
    """Return what git prints, stripped; a word of its own where git fails."""
    done = subprocess.run(["git", *words], cwd=root(), capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"
