"""What is told of several models at once: members of a group, snapshots of a run, candidates of a choice."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gradus.app.choosing import read_choice
from gradus.app.report import trained
from gradus.app.report.facts import RunFacts
from gradus.app.report.held_out import recipe_of
from gradus.app.report.page import Section, table, tile, value
from gradus.app.report.scatter import bars
from gradus.app.report.svg import count, seconds, tag, text
from gradus.app.report.told import Subject, Told, figure, lead, plain
from gradus.engine.folder import RunFolder
from gradus.engine.group import interval
from gradus.errors import GradusError

__all__ = ["KINDS", "GroupKind", "candidates", "tell_group", "tell_snapshots"]


class GroupKind(NamedTuple):
    """How a group is told, by what varies in it.

    Attributes:
        title: of the report.
        differ: what differs between the members.
        member: what a member is called.
        drawn: whether every member's value is drawn as a bar.
        together: whether the members are measured as one model too.
    """

    title: str
    differ: str
    member: str
    drawn: bool = False
    together: bool = False


KINDS = {
    "seed": GroupKind("Group report", "differ in their seed", "member"),
    "ensemble": GroupKind(
        "Ensemble", "differ in their seed but share their division of the data, so that they may be used as one",
        "member", drawn=True, together=True,
    ),
    "fold": GroupKind(
        "Cross-validation", "differ in the fold of the data that they are tested on", "fold", drawn=True
    ),
    "auto": GroupKind("Candidates", "differ in model and options; none has been chosen yet", "candidate"),
}  # fmt: skip


def tell_group(folder: RunFolder, facts: RunFacts, device: str) -> tuple[GroupKind, Told]:
    """Measure the members of a group, side by side and, where that means something, as one.

    Args:
        folder: of the group.
        facts: what it says.
        device: where the members compute.
    """
    from gradus.app.using import Evaluate

    kind = KINDS[facts.body.get("vary", "seed")]
    data = facts.options.get("data")
    where = f", on {data}." if data else "."
    out = Told(lead=f"{len(facts.members)} runs of {facts.recipe} that {kind.differ}{where}")
    metrics: list[dict[str, float]] = []
    for member in facts.members:
        try:
            metrics.append(Evaluate(run=str(folder.members / member.name), device=device)().data["metrics"])
        except GradusError as error:
            metrics.append({})
            out.notes.append(f"{kind.member.capitalize()} {member.name} is not measured: {error}.")
    measured = [one for one in metrics if one]
    shared = [name for name in (measured[0] if measured else {}) if all(name in one for one in measured)]
    intervals = {name: interval([one[name] for one in measured]) for name in shared}
    out.metrics = {name: found["mean"] for name, found in intervals.items()}
    one = _as_one(folder, facts, device, out) if kind.together and len(measured) > 1 else {}
    out.metrics |= {f"ensemble {name}": v for name, v in one.items()}
    out.tiles = [
        tile(f"Ensemble: {plain(n)}", value(v, figure(n, v)), _lead_over(measured, n, v)) for n, v in one.items()
    ]
    out.tiles += [_interval_tile(kind, name, found) for name, found in sorted(intervals.items())]
    out.tiles += [tile(f"{kind.member.capitalize()}s", count(len(facts.members)))]
    out.tiles += [tile("Training time", text(seconds(sum(m.seconds for m in facts.members))), "all together")]
    out.chapters.append(_members(facts, kind, metrics, intervals))
    return kind, out


def _as_one(folder: RunFolder, facts: RunFacts, device: str, out: Told) -> dict[str, float]:
    """Return the metrics of all members as one model; note why not where they cannot be used so."""
    from gradus.engine.product import load_product

    try:
        return recipe_of(facts.body, facts.name).evaluate(load_product(folder.path, device), "test", device)
    except GradusError as error:
        out.notes.append(f"The ensemble is not measured: {error}.")
        return {}


def _lead_over(measured: Sequence[Mapping[str, float]], name: str, ours: float) -> str:
    """Return in words how many members the ensemble is better than, where it is known what better is."""
    if name.partition("/")[2] not in ("accuracy", "f1", "auc", "loss"):
        return ""
    sign = -1 if name.endswith("/loss") else 1
    beaten = sum(sign * one[name] <= sign * ours for one in measured if name in one)
    return text(f"at least as good as {beaten} of its {len(measured)} members")


def _interval_tile(kind: GroupKind, name: str, found: Mapping[str, float]) -> str:
    spread = f"standard deviation {figure(name, found['std'])}"
    between = f"± {figure(name, found['half_width'])}, 95 % interval over {found['count']} {kind.member}s"
    return tile(plain(name), value(found["mean"], figure(name, found["mean"])), text(f"{between}; {spread}"))


def _members(
    facts: RunFacts,
    kind: GroupKind,
    metrics: Sequence[Mapping[str, float]],
    intervals: Mapping[str, Mapping[str, float]],
) -> Section:
    named = f"gradus report {facts.name}/members/0"
    inside = trained.member_rows(facts.members, metrics)
    if kind.drawn:
        figures = [_drawn(kind, name, facts, metrics, found["mean"]) for name, found in intervals.items()]
        inside = tag("div", *figures, class_="row", style="margin-bottom:30px") + inside
    inside += tag("p", f"A {kind.member} is a run of its own: ", tag("code", text(named)), class_="aside")
    return Section("members", f"{kind.member.capitalize()}s", inside)


def _drawn(kind: GroupKind, name: str, facts: RunFacts, metrics: Sequence[Mapping[str, float]], mean: float) -> str:
    found = [(member.name, one[name]) for member, one in zip(facts.members, metrics, strict=True) if name in one]
    return bars(plain(name), [n for n, _ in found], [v for _, v in found], mean, kind.member)


def tell_snapshots(subject: Subject) -> Told:
    """Measure the snapshots of a run one by one, and together in every way there is."""
    facts, product = subject.facts, subject.product
    out = Told(lead=f"{lead(facts).removesuffix('.')}; {len(product.products)} snapshots on the way are used as one.")
    rows: list[tuple[str, dict[str, float]]] = []
    try:
        recipe = recipe_of(facts.body, facts.name)
        for i, one in enumerate(product.products):
            rows.append((f"snapshot {i}", recipe.evaluate(one, "test", str(product.device))))
        for way, words in WAYS.items():
            try:
                rows.append((words, recipe.evaluate(product.combined(way), "test", str(product.device))))
            except GradusError as error:
                out.notes.append(f"Nothing is told of the {words}: {error}.")
    except GradusError as error:
        out.notes.append(f"The snapshots are not measured: {error}.")
    out.metrics = next((found for name, found in rows if name == WAYS["mean"]), {})
    each = [found for name, found in rows if name.startswith("snapshot")]
    out.tiles = [tile(plain(n), value(v, figure(n, v)), _lead_over(each, n, v)) for n, v in out.metrics.items()]
    out.tiles.append(tile("Snapshots", count(len(product.products))))
    if rows:
        out.chapters.append(Section("members", "Snapshots", _scores(rows, "Each snapshot, and all as one")))
    return out


WAYS = {"mean": "mean of the probabilities", "vote": "vote", "weights": "mean of the weights"}


def _scores(rows: Sequence[tuple[str, Mapping[str, float]]], label: str) -> str:
    names = list(dict.fromkeys(name for _, found in rows for name in found))
    lines = []
    for title, found in rows:
        cells = [value(found[n], figure(n, found[n])) if n in found else "–" for n in names]
        lines.append(tag("tr", tag("th", text(title), scope="row"), *(tag("td", cell) for cell in cells)))
    return table(["", *(plain(n) for n in names)], lines, label=label)


def candidates(folder: RunFolder) -> list[Section]:
    """Return what else was tried, of a run that `gradus train --auto` chose."""
    choice: Any = read_choice(folder.path.parent.parent) if folder.path.parent.name == "members" else None
    if choice is None:
        return []
    rows = [(f"{row['name']} (chosen)" if i == choice["best"] else row["name"], row["metrics"])
            for i, row in enumerate(choice["scores"])]  # fmt: skip
    said = f"{choice['note'][:1].upper()}{choice['note'][1:]}. {choice['why'][:1].upper()}{choice['why'][1:]}."
    said += f" There was no time for {', '.join(choice['left_out'])}." if choice["left_out"] else ""
    return [Section("candidates", "Candidates", tag("p", text(said)) + _scores(rows, "Every candidate's validation"))]
