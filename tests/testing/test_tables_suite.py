"""`check_table` passes every registered table that is on this machine, and rejects each of a family of planted bugs."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from gradus import canon
from gradus.data.table_reading import RawTable
from gradus.data.table_sets import NamedTable, iris
from gradus.errors import GradusError
from gradus.testing.tables import check_table

NAMES = sorted(canon.names("table"))
EMBEDDED = {"iris", "wine", "breast-cancer", "diabetes"}


@pytest.mark.parametrize("name", NAMES)
def test_every_registered_table_keeps_the_contract(name: str) -> None:
    make = canon.find("table", name)
    try:
        make()
    except GradusError:
        if name in EMBEDDED:
            raise
        pytest.skip(f"{name} is not here")
    check_table(make)


def test_the_embedded_tables_are_there() -> None:
    assert set(NAMES) >= EMBEDDED


def _changed(**changes: object) -> Callable[[], NamedTable]:
    return lambda: replace(iris(), **changes)  # type: ignore[arg-type]


def _raw(change: Callable[[list[list[str]]], list[list[str]]], **facts: object) -> Callable[[], NamedTable]:
    def make() -> NamedTable:
        found = iris()
        raw = found.raw
        rows = change([list(row) for row in raw.rows])
        return replace(found, raw=RawTable(raw.name, facts.get("names", raw.names), rows))  # type: ignore[arg-type]

    return make


def _blurred(rows: list[list[str]]) -> list[list[str]]:
    rows[3][4] = "?"
    return rows


_COUNT = iter(range(100))

TWINS: dict[str, tuple[Callable[[], NamedTable], str]] = {
    "no target": (_changed(target="colour"), "is no column"),
    "leaves the target out": (_changed(leave_out=("species",)), "target is left out"),
    "leaves out nobody knows what": (_changed(leave_out=("colour",)), "not all columns"),
    "tests on everything": (_changed(test_from=0), "nothing to learn from"),
    "no fingerprint": (_changed(fingerprint=""), "no fingerprint"),
    "ragged": (_raw(lambda rows: [*rows[:5], rows[5][:-1], *rows[6:]]), "row 6 has 4 fields"),
    "loose": (_raw(lambda rows: [[f" {row[0]}", *row[1:]] for row in rows]), "not stripped"),
    "missing target": (_raw(_blurred), "target is missing"),
    "one name twice": (_raw(lambda rows: rows, names=("a", "b", "b", "c", "species")), "one name"),
    "another each time": (_raw(lambda rows: [[str(next(_COUNT)), *rows[0][1:]], *rows[1:]]), "two tables"),
}


@pytest.mark.parametrize("name", TWINS)
def test_planted_bugs_are_rejected(name: str) -> None:
    make, said = TWINS[name]
    with pytest.raises(AssertionError, match=said):
        check_table(make)
