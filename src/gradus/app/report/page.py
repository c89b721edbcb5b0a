"""The page that sections stand in: head, navigation, foot; one HTML file that loads nothing."""

from collections.abc import Sequence
from typing import NamedTuple

from gradus import __version__
from gradus.app.report.style import SCRIPT, STYLE
from gradus.app.report.svg import tag, text

__all__ = ["Section", "page", "pairs", "table", "tile", "value"]

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="gradus {version}">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
script-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
{head}
<nav aria-label="Sections">{links}</nav>
</header>
<main>
{sections}
</main>
<footer>{foot}</footer>
<script>{script}</script>
</body>
</html>
"""


class Section(NamedTuple):
    """One section of a page.

    Attributes:
        id: its anchor.
        title: its heading.
        body: markup.
    """

    id: str
    title: str
    body: str


def page(title: str, head: str, sections: Sequence[Section], foot: str) -> str:
    """Return a whole page.

    Args:
        title: of the window.
        head: markup above the navigation.
        sections: in order.
        foot: markup below.
    """
    parts = [tag("section", tag("h2", text(s.title)), s.body, id=s.id) for s in sections]
    links = "".join(tag("a", text(s.title), href=f"#{s.id}") for s in sections)
    return PAGE.format(
        version=text(__version__), title=text(title), style=STYLE, script=SCRIPT, head=head, links=links,
        sections="\n".join(parts), foot=foot,
    )  # fmt: skip


def value(number: float, shown: str) -> str:
    """Return a number as people read it, with all its digits beside it for programs."""
    return tag("data", text(shown), value=repr(float(number)))


def tile(name: str, shown: str, note: str = "") -> str:
    """Return one headline fact; `shown` and `note` are markup."""
    return tag("div", tag("dt", text(name)), tag("dd", shown, tag("small", note) if note else ""))


def pairs(facts: dict[str, object]) -> str:
    """Return facts as a list of names and values; None is left out."""
    rows = [tag("div", tag("dt", text(key)), tag("dd", text(fact))) for key, fact in facts.items() if fact is not None]
    return tag("dl", *rows, class_="pairs")


def table(head: Sequence[str], rows: Sequence[str], look: str = "", label: str = "") -> str:
    """Return a table that scrolls within itself.

    Args:
        head: names of the columns.
        rows: markup of each row.
        look: classes of the table.
        label: what it holds, for those who do not see it.
    """
    columns = "".join(tag("th", text(name), scope="col") for name in head)
    body = tag("table", tag("thead", tag("tr", columns)), tag("tbody", *rows), class_=look or None, aria_label=label)
    return tag("div", body, class_="scroll", tabindex=0, role="region", aria_label=label)
