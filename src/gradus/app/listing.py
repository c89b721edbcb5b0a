"""`gradus list` and `gradus show`: what there is, without importing torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gradus import canon
from gradus.app.using import RunVerb
from gradus.app.verb import Answer, Verb
from gradus.engine.folder import CHOICE, RunFolder, find_run, list_runs, runs_home
from gradus.engine.group import members
from gradus.engine.log import read_metrics
from gradus.errors import GradusError, nearest

__all__ = ["List", "Show", "recipes_table"]

KINDS = {
    "recipe": "recipes", "experiment": "experiments", "classifier": "models", "estimator": "estimators of tables",
    "optimizer": "optimisers", "schedule": "schedules", "activation": "activations", "loss": "losses",
    "minimizer": "minimisers", "line-search": "line searches", "strategy": "evolution strategies",
    "minimax": "minimax methods", "solver": "solvers of differential equations", "fixed_point": "fixed-point solvers",
    "bijector": "bijectors", "sampler": "samplers", "guide": "guides of variational inference",
    "uncertainty": "methods of uncertainty", "divergence": "divergences", "dataset": "data sets",
    "table": "data sets of tables", "corpus": "corpora", "text-set": "data sets of labelled texts",
    "pair-set": "data sets of translations", "tag-set": "data sets of tagged words", "series": "series",
    "tokenizer": "tokenizers", "language-model": "language models", "text-classifier": "classifiers of texts",
    "tagger": "taggers", "forecaster": "forecasters", "translator": "translators", "embedding": "word vectors",
    "text-encoder": "encoders of texts", "augmentation": "augmentations", "explainer": "explainers",
    "attack": "attacks", "metric": "metrics", "product": "products",
}  # fmt: skip

# What differs between the members of a group, by its `vary`.
GROUPS = {
    "seed": "a group of {n} members that differ in their seed",
    "ensemble": "an ensemble of {n} members, trained on the same division of the data and used as one",
    "fold": "a cross-validation of {n} folds: each member is tested on the part of the data that it has not seen",
    "auto": "{n} candidates of which the best is to be chosen: `gradus resume` goes on",
}


def recipes_table() -> str:
    """Return one line per recipe."""
    found = canon.of_kind("recipe").values()
    return "\n".join(f"  {entry.id:<20} {entry.summary}" for entry in sorted(found, key=lambda e: e.id))


@dataclass(kw_only=True)
class List(Verb):
    """List what there is: recipes, models, optimisers, data sets, …, and the runs."""

    kind: str | None = None
    """Only this kind: run, recipe, experiment, classifier, optimizer, dataset, table, … (all are named without it)."""

    def __call__(self) -> Answer:
        """Scan the registry and the runs home."""
        if self.kind is not None and self.kind not in {*KINDS, "run"}:
            raise GradusError(f"there is no kind {self.kind!r}{nearest(self.kind, [*KINDS, 'run'])}")
        data: dict[str, Any] = {}
        blocks = []
        for kind, title in KINDS.items():
            if self.kind not in (None, kind):
                continue
            found = sorted((e for e in canon.scan().values() if e.kind == kind), key=lambda e: e.id)
            data[kind] = [{"id": e.id, "names": list(e.names), "paper": e.paper, "summary": e.summary} for e in found]
            rows = [_row(e.id if kind == "recipe" else " ".join(e.names), e.summary) for e in found]
            blocks.append("\n".join([f"{title} ({kind}):", *rows]))
        if self.kind in (None, "run"):
            runs = [describe_run(RunFolder(path)) for path in list_runs(self.runs_dir)]
            data["run"] = runs
            rows = [_row(run["run"], f"{run['status']}, step {run['step']}  {_brief(run['metrics'])}") for run in runs]
            blocks.append("\n".join([f"runs in {runs_home(self.runs_dir)}:", *(rows or ["  none yet"])]))
        return Answer(data, "\n\n".join(blocks))


def _row(name: str, what: str) -> str:
    return f"  {name:<20} {what}" if len(name) <= 20 else f"  {name}\n  {'':<20} {what}"


def _brief(metrics: dict[str, float]) -> str:
    return "  ".join(f"{key} {value:.4g}" for key, value in metrics.items() if key.startswith(("val/", "test/")))


def describe_run(folder: RunFolder) -> dict[str, Any]:
    """Return what a run folder says about itself, read without its tensors."""
    try:
        body = folder.read()
    except GradusError as error:
        return {
            "run": folder.path.name,
            "path": str(folder.path),
            "status": f"damaged ({error})",
            "step": 0,
            "metrics": {},
        }
    found = members(folder)
    if found:
        parts = [describe_run(member) for member in found]
        done = sum(part["status"].startswith("finished") for part in parts)
        chosen = _chosen(folder)
        head = {
            "status": f"{chosen}{done} of {body['members']} members finished",
            "step": max(p["step"] for p in parts),
        }
        metrics: dict[str, float] = {}
    else:
        head = _head(folder)
        metrics = {name: values[-1][1] for name, values in read_metrics(folder.metrics_file).items()}
    return {
        "run": folder.path.name, "path": str(folder.path), "recipe": body["recipe"], "status": head["status"],
        "step": head["step"], "best": head.get("best"), "metrics": metrics, "options": body["options"],
        "product": (folder.product / "product.json").exists(),
    }  # fmt: skip


def _chosen(folder: RunFolder) -> str:
    """Return which member a group stands for, for its status; empty where none was chosen."""
    try:
        best = json.loads((folder.path / CHOICE).read_text(encoding="utf-8"))["best"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f"member {best} chosen, "


def _head(folder: RunFolder) -> dict[str, Any]:
    """Return status, step and best of the newest sound checkpoint."""
    steps = sorted(p for p in folder.checkpoints.glob("step-*/state.json"))
    for path in reversed(steps):
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
            return {"status": body["status"], "step": body["step"], "best": body["best"]}
        except (ValueError, KeyError):
            continue
    return {"status": "no checkpoint yet", "step": 0, "best": None}


@dataclass(kw_only=True)
class Show(RunVerb):
    """Show a run (gradus show RUN), or a registered method with its options (gradus show adamw)."""

    def __call__(self) -> Answer:
        """Look for a method of that name first, then for a run."""
        methods = [e for e in canon.scan().values() if self.run == e.id or self.run in e.names]
        if methods and not (runs_home(self.runs_dir) / self.run).exists():
            return _methods(methods)
        folder = RunFolder(find_run(self.run, self.runs_dir, whole=True))
        data = describe_run(folder)
        lines = [f"{data['run']}: {data['status']}, step {data['step']}"]
        if data.get("best"):
            best = data["best"]
            lines.append(f"  best {best['metric']} {best['value']:.4f} at step {best['step']}")
        lines += [f"  {key:<18} {value:.5g}" for key, value in data["metrics"].items()]
        more, told = _whole(folder) if data.get("recipe") else ({}, [])
        lines += [*told, "", f"  recipe {data.get('recipe')}"]
        lines += [
            f"    {key:<18} {value}" for key, value in data.get("options", {}).items() if value not in (None, [], False)
        ]
        return Answer({**data, **more}, "\n".join(lines))


def _whole(folder: RunFolder) -> tuple[dict[str, Any], list[str]]:
    """Return what else a run holds: the findings of an experiment, how a group's members differ, what was chosen."""
    from gradus.app.choosing import read_choice, table_of

    body = folder.read()
    choice = read_choice(folder.path)
    if choice is not None:
        return {"vary": "auto", "choice": choice}, [*table_of(choice), f"  {choice['why']}"]
    if vary := body.get("vary", "seed" if body.get("members") else None):
        return {"vary": vary}, [f"  {GROUPS[vary].format(n=body['members'])}"]
    numbers = _findings_of(folder)
    if numbers is None:
        return {}, []
    return {"findings": numbers}, ["", "  findings", *(f"    {key:<32} {value:.6g}" for key, value in numbers.items())]


def _findings_of(folder: RunFolder) -> dict[str, float] | None:
    """Return the headline numbers of an experiment, without its table; None for anything else."""
    try:
        body = json.loads((folder.product / "product.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return body["numbers"] if body.get("product") == "findings" else None


def _methods(methods: Sequence[canon.Entry]) -> Answer:
    lines, data = [], []
    for e in methods:
        lines += [f"{e.id} ({e.kind}): {e.summary}"]
        lines += [f"  {e.paper}"] if e.paper else []
        options = {key: p for key, p in e.parameters.items() if p.default != canon.REQUIRED}
        lines += [f"  --set {key}={p.default}    {p.annotation}" for key, p in options.items()]
        described = {key: {"type": p.annotation, "default": p.default} for key, p in e.parameters.items()}
        facts = {"id": e.id, "kind": e.kind, "paper": e.paper, "names": list(e.names), "summary": e.summary}
        data.append({**facts, "options": described})
    return Answer({"methods": data}, "\n".join(lines))
