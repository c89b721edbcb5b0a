"""The page of `gradus compare --out`: the curves of several runs laid over each other, and their table."""

from collections.abc import Sequence

from gradus import __version__
from gradus.app.report.charts import Band, Line, line_chart
from gradus.app.report.facts import RunFacts
from gradus.app.report.page import Section, page, table
from gradus.app.report.svg import Frame, tag, text
from gradus.app.report.trained import charts, mean_and_band, titled

__all__ = ["overlaid"]

LOOKS = 8


def overlaid(
    runs: Sequence[tuple[str, RunFacts]], rows: Sequence[tuple[str, list[str]]], sentences: Sequence[str]
) -> str:
    """Return the whole page.

    Args:
        runs: label and facts of each run or group.
        rows: of the table: a name and a cell for each run.
        sentences: what the comparison comes to.
    """
    names = sorted({name for _, facts in runs for part in facts.members or (facts,) for name in part.series})
    stems = [stem for stem in charts(names) if stem != "lr"]
    sections = []
    for part, heading in (("val", "Validation"), ("train", "Training")):
        figures = [_figure(part, stem, runs) for stem in stems]
        if any(figures):
            sections.append(Section(part, heading, tag("div", *figures, class_="row wide")))
    body = [tag("tr", tag("th", text(name), scope="row"), *(tag("td", text(c)) for c in cells)) for name, cells in rows]
    head = ["", *(label for label, _ in runs)]
    sections.insert(0, Section("table", "Side by side", table(head, body, label="The runs side by side")))
    labels = " · ".join(label for label, _ in runs)
    top = tag("div", "Comparison", class_="over") + tag("h1", text(labels))
    top += "".join(tag("p", text(f"{sentence}."), class_="lead") for sentence in sentences)
    foot = text(f"Written by gradus {__version__}. This file stands alone: it loads nothing.")
    return page(f"{labels} · Gradus", top, sections, foot)


def _figure(part: str, stem: str, runs: Sequence[tuple[str, RunFacts]]) -> str:
    """Return one chart: a line for each run, a mean and a band for each group."""
    lines, bands = [], []
    for i, (label, facts) in enumerate(runs):
        look, name = f"c{i % LOOKS}", f"{part}/{stem}"
        series = [member.series[name] for member in facts.members or (facts,) if name in member.series]
        if len(series) == 1:
            lines.append(Line(label, series[0], look))
        elif series:
            mean, edges = mean_and_band(series)
            lines.append(Line(label, mean, look))
            bands.append(Band(edges, look))
    return line_chart(titled(stem), lines, share=stem == "accuracy", bands=bands, frame=Frame.wide())
