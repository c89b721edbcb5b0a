"""The contract of registered tables: text in rows of one width, with a target that can be predicted.

`check_table` needs no test framework; it raises an AssertionError that says what was broken.
"""

from collections.abc import Callable

from gradus.data.table import schema_of
from gradus.data.table_columns import MISSING, is_number
from gradus.data.table_sets import NamedTable

__all__ = ["check_table"]


def check_table(make: Callable[[], NamedTable]) -> None:
    """Assert the contract of a registered table.

    Rows are as long as there are names, and their text is stripped; the names differ; the target is one of them, there
    in every row, and not among the columns left out; test rows leave some to learn from; a second reading gives the
    same; the columns can be told apart and read.

    Args:
        make: returns the table.

    Raises:
        AssertionError: naming what was broken.
    """
    table = make()
    raw = table.raw
    assert len(set(raw.names)) == len(raw.names) > 1, "two columns have one name, or there is one column only"
    assert table.target in raw.names, f"the target {table.target!r} is no column"
    odd = [i for i, row in enumerate(raw.rows) if len(row) != len(raw.names)]
    assert not odd, f"row {odd[0] + 1} has {len(raw.rows[odd[0]])} fields, not {len(raw.names)}" if odd else ""
    loose = next((text for row in raw.rows for text in row if text != text.strip()), None)
    assert loose is None, f"the text {loose!r} is not stripped"
    assert set(table.leave_out) <= set(raw.names), f"{table.leave_out} are not all columns"
    assert table.target not in table.leave_out, "the target is left out"
    targets = raw.column(table.target)
    assert not any(text.lower() in MISSING for text in targets), "a target is missing"
    assert table.test_from is None or 0 < table.test_from < len(raw), "the test rows leave nothing to learn from"
    again = make()
    assert table.fingerprint, "it has no fingerprint"
    assert (again.fingerprint, again.raw.rows) == (table.fingerprint, raw.rows), "reading it twice gives two tables"
    numbers = all(map(is_number, targets)) and len(set(targets)) > 20
    drop = dict.fromkeys(table.leave_out, "left out")
    schema, _ = schema_of(raw, table.target, classes=not numbers, drop=drop)
    values = schema.values(raw)
    assert values.shape == (len(raw), len(schema.features)), f"the matrix has shape {tuple(values.shape)}"
