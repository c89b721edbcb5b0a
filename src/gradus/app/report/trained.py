"""What the run folder says, as sections: the course of training, the model, the recipe, the surroundings."""

from collections.abc import Mapping, Sequence
from typing import Any

from gradus.app.report.charts import Band, Line, line_chart
from gradus.app.report.facts import RunFacts, command
from gradus.app.report.page import Section, pairs, table, value
from gradus.app.report.svg import Frame, compact, count, percent, seconds, tag, text
from gradus.app.report.told import STEMS
from gradus.engine.group import interval

__all__ = [
    "charts",
    "group_training",
    "mean_and_band",
    "member_rows",
    "model",
    "provenance",
    "recipe",
    "titled",
    "training",
]

PARTS = ("train", "val")


def charts(names: Sequence[str]) -> list[str]:
    """Return the metrics that get a chart, loss and accuracy first: `train/loss` and `val/loss` share one."""
    stems = {name.split("/", 1)[-1] for name in names if name.split("/")[0] in PARTS}
    first = [stem for stem in ("loss", "accuracy", "lr") if stem in stems]
    return first + sorted(stems - set(first))


def titled(stem: str) -> str:
    """Return what a chart of a metric is called."""
    names = {"lr": "Learning rate", "grad_norm": "Gradient norm", **STEMS}
    return names.get(stem, stem.replace("_", " ").capitalize())


def training(facts: RunFacts) -> Section:
    """Return the curves of one run, the best step marked."""
    figures = [_chart(stem, facts) for stem in charts(list(facts.series))]
    best = facts.best
    said = f"{count(facts.step)} steps in {seconds(facts.seconds)}."
    if best is not None:
        said += f" The weights kept are those of step {count(best['step'])}, the best by {best['metric']}."
    body = tag("p", text(said)) + tag("div", *figures, class_="row")
    if not any(figures):
        body = tag("p", "Nothing was logged yet.")
    return Section("training", "Training", body + _values(facts))


def _chart(stem: str, facts: RunFacts) -> str:
    lines = [
        Line(part, facts.series.get(f"{part}/{stem}", ()), look) for part, look in (("train", "c0"), ("val", "c1"))
    ]
    share = stem == "accuracy"
    if stem == "lr":
        lines = [Line("rate", facts.series["train/lr"], "c2")]
    best, mark = facts.best, None
    if best is not None:
        at = dict(facts.series.get(f"val/{stem}", ())).get(best["step"])
        if at is not None:
            shown = percent(at) if share else compact(at)
            mark = (best["step"], at, f"kept: {shown}")
    return line_chart(titled(stem), lines, share=share, mark=mark, log=False if stem == "lr" else None)


def _values(facts: RunFacts, most: int = 60) -> str:
    """Return the validation values as a table, for those who would rather read than look."""
    names = [name for name in facts.series if name.startswith("val/")]
    if not names:
        return ""
    steps = [step for step, _ in facts.series[names[0]]][-most:]
    found = {name: dict(facts.series[name]) for name in names}
    rows = [
        tag("tr", tag("td", count(step)), *(tag("td", text(f"{found[n].get(step, float('nan')):.4f}")) for n in names))
        for step in steps
    ]
    inside = table(["step", *names], rows, label="Validation metrics by step")
    return tag("details", tag("summary", "Values"), tag("div", inside), style="margin-top:30px")


def group_training(members: Sequence[RunFacts]) -> Section:
    """Return the curves of a group: every member faint, their mean and 95 % interval in front."""
    names = sorted({name for member in members for name in member.series})
    figures = [_group_chart(stem, members) for stem in charts(names) if stem != "lr"]
    said = "Every member is a thin line; the strong line is their mean, the area its 95 % interval."
    return Section("training", "Training", tag("p", said) + tag("div", *figures, class_="row"))


def _group_chart(stem: str, members: Sequence[RunFacts]) -> str:
    lines, bands = [], []
    for part, look in (("train", "c0"), ("val", "c1")):
        series = [member.series[f"{part}/{stem}"] for member in members if f"{part}/{stem}" in member.series]
        if not series:
            continue
        lines += [Line("", one, f"{look} faint") for one in series]
        mean, edges = mean_and_band(series)
        lines.append(Line(part, mean, look))
        bands.append(Band(edges, look))
    return line_chart(titled(stem), lines, share=stem == "accuracy", bands=bands, frame=Frame.wide())


def mean_and_band(
    series: Sequence[Sequence[tuple[int, float]]],
) -> tuple[list[tuple[float, float]], list[tuple[float, float, float]]]:
    """Return the mean of several series at the steps they share, and (step, low, high) of its interval there.

    Args:
        series: (step, value) pairs of each member.
    """
    tables = [dict(one) for one in series]
    shared = sorted(set.intersection(*(set(one) for one in tables)))
    mean: list[tuple[float, float]] = []
    edges: list[tuple[float, float, float]] = []
    for step in shared:
        found = interval([one[step] for one in tables])
        low, high = found["mean"] - found["half_width"], found["mean"] + found["half_width"]
        mean.append((step, found["mean"]))
        edges.append((step, low, high))
    return mean, edges


def model(summary: Any, name: str) -> Section:
    """Return the layer tree.

    Args:
        summary: as `gradus.nn.summary` gives it.
        name: of the architecture.
    """
    shape = " × ".join(map(str, summary.input_shape[1:]))
    said = (
        f"{name}: {count(summary.parameters)} parameters, {count(summary.trainable)} of them trainable; "
        f"{compact(summary.multiply_adds)} multiply-adds for one image of {shape}."
    )
    rows = []
    for row in summary.rows:
        leaf = row.path.rsplit(".", 1)[-1]
        layer = (tag("span", text(f"{leaf} ")) if leaf else "") + text(row.kind)
        output = " × ".join(map(str, row.output_shape[1:])) or "–"
        cells = [tag("td", layer, style=f"--d:{row.depth}"), tag("td", text(output))]
        cells += [tag("td", count(n) if n else "–") for n in (row.parameters, row.multiply_adds)]
        rows.append(tag("tr", *cells))
    inside = table(["layer", "output", "parameters", "multiply-adds"], rows, "tree", "The layers of the model")
    heading = tag("summary", "Layers", tag("small", text(f"{len(summary.rows)} modules")))
    opened = {"open": ""} if len(rows) <= 30 else {}
    return Section("model", "Model", tag("p", text(said)) + tag("details", heading, tag("div", inside), **opened))


def recipe(facts: RunFacts) -> Section:
    """Return the command that trains this again, and every option."""
    if facts.recipe is None:
        said = tag("p", "This run was driven from Python; its options are those that the program gave.")
    else:
        button = tag("button", "Copy", type="button")
        said = tag("p", "This command does the same again:")
        said += tag("div", tag("pre", tag("code", text(command(facts)))) + button, class_="command")
    rows = []
    for changed in (True, False):
        for key, given in facts.options.items():
            if (key in facts.changed) is changed:
                cells = tag("th", text(key), scope="row") + tag("td", text(_shown(given)))
                rows.append(tag("tr", cells, class_=None if changed else "usual"))
    number = len(facts.changed)
    inside = table(["option", "value"], rows, "words", "Every option of the recipe")
    heading = tag("summary", "All options", tag("small", text(f"{len(rows)}, {number} of them changed")))
    return Section("recipe", "Recipe", said + tag("details", heading, tag("div", inside)))


def _shown(option: Any) -> str:
    if option is None or option == []:
        return "–"
    return ", ".join(map(str, option)) if isinstance(option, list) else str(option)


def provenance(facts: RunFacts, data: Mapping[str, object]) -> Section:
    """Return versions, device and hashes: what another person needs to trust or repeat this.

    Args:
        facts: of the run, or of a group, whose members were made alike.
        data: facts of the data, where it is there.
    """
    parts = facts.members or (facts,)
    there = parts[0].head.get("facts") or {}
    seeds = ", ".join(str(part.options.get("seed")) for part in parts)
    digest = facts.product.get("sha256")
    listed: dict[str, object] = {
        "Run": facts.name, "Status": parts[0].head.get("status"),
        "Gradus": facts.body.get("gradus"), "PyTorch": there.get("torch"), "Device": there.get("device"),
        "Precision": there.get("precision"), "Threads": there.get("threads"), "CPU": there.get("cpu"),
        "Processes": there.get("world"), "Compiled": {True: "yes", False: "no"}.get(there.get("compile", "")),
        "Seeds" if facts.members else "Seed": seeds, **data,
        "Product": None if digest is None else f"sha256 {digest[:16]}…",
    }  # fmt: skip
    return Section("provenance", "Provenance", tag("div", pairs(listed), class_="two"))


def member_rows(members: Sequence[RunFacts], metrics: Sequence[Mapping[str, float]]) -> str:
    """Return a table of the members of a group and what each is worth."""
    names = list(dict.fromkeys(name for one in metrics for name in one))
    rows = []
    for member, found in zip(members, metrics, strict=True):
        best = member.best
        cells = [tag("th", text(member.name), scope="row"), tag("td", text(member.options.get("seed", "–")))]
        cells += [tag("td", count(member.step)), tag("td", text(seconds(member.seconds)))]
        cells.append(tag("td", text("–" if best is None else f"{best['value']:.4f} at {best['step']}")))
        cells += [tag("td", value(found[n], f"{found[n]:.4f}") if n in found else tag("td", "–")) for n in names]
        rows.append(tag("tr", *cells))
    metric = next((member.best["metric"] for member in members if member.best), "")
    return table(["member", "seed", "steps", "time", f"best {metric}", *names], rows, label="The members of the group")
