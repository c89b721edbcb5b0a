"""CSV files as people have them: what is found out about them, and what is refused with a row and a column."""

import csv
import gzip
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.data.table_reading import read_csv
from gradus.errors import GradusError

SMALL = "a,b,c\n1,x,2\n3,y,4\n"


@pytest.fixture
def file(tmp_path):
    """Return a function that writes a file and gives its path."""

    def write(content, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def refused(path, said, **settings):
    with pytest.raises(GradusError, match=said) as found:
        read_csv(path, **settings)
    assert "\n" not in str(found.value)
    return str(found.value)


def test_a_plain_file(file):
    raw = read_csv(file(SMALL))
    assert raw.names == ("a", "b", "c")
    assert raw.column("b") == ["x", "y"]
    assert raw.where(1) == "t.csv, row 2 (line 3)"


@pytest.mark.parametrize(
    "content",
    [
        SMALL.replace(",", ";"),
        SMALL.replace(",", "\t"),
        SMALL.replace(",", "|"),
        SMALL.replace(",", ", "),
        SMALL.replace(",", "  "),
        SMALL.replace("\n", "\r\n"),
        SMALL.replace("\n", "\n\n"),
        SMALL.rstrip("\n"),
        'a,"b",c\n1,"x",2\n"3",y,4\n',
        b"\xef\xbb\xbf" + SMALL.encode(),
        SMALL.encode("utf-16"),
        gzip.compress(SMALL.encode()),
    ],
    ids=["semicolon", "tab", "bar", "blank after", "blanks", "crlf", "blank lines", "no end", "quoted", "bom", "utf-16",
         "gzip"],
)  # fmt: skip
def test_what_files_come_in(file, content):
    raw = read_csv(file(content))
    assert raw.names == ("a", "b", "c")
    assert [list(row) for row in raw.rows] == [["1", "x", "2"], ["3", "y", "4"]]


def test_quoted_fields_hold_delimiters_and_lines(file):
    raw = read_csv(file('name,text\n1,"one, two\nthree ""four"""\n2,x\n'))
    assert raw.column("text") == ['one, two\nthree "four"', "x"]
    assert raw.where(1) == "t.csv, row 2 (line 4)"


@pytest.mark.parametrize(
    ("content", "header"),
    [
        ("age,sex\n30,m\n40,f\n", True),
        ("30,m\n40,f\n", False),
        ("colour,size\nred,big\nblue,small\nred,small\n", True),
        ("red,big\nblue,small\nred,small\n", False),
        ("a,b,a\nx,y,z\n", False),
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n", False),
        ("name,,size\nx,1,2\n", True),
    ],
)
def test_headers_are_found_out(file, content, header):
    assert read_csv(file(content)).header is header


def test_a_header_can_be_insisted_on(file):
    assert read_csv(file("2019,2020\n1,2\n"), header=True).names == ("2019", "2020")
    assert read_csv(file(SMALL), header=False).names == ("column1", "column2", "column3")
    assert read_csv(file("name,,size\nx,1,2\n")).names == ("name", "column2", "size")


def test_ragged_rows_are_named_with_both_counts(file):
    said = refused(file("a,b,c\n1,2,3\n4,5\n6,7,8\n"), "row 2")
    assert "t.csv, row 2 (line 3) has 2 fields, but the header has 3" in said
    refused(file("1,2,3\n4,5,6,7\n"), r"row 2 \(line 2\) has 4 fields, but the first row has 3")


def test_what_is_no_table_is_refused(file, tmp_path):
    refused(file(""), "is empty")
    refused(file("\n \n"), "is empty")
    refused(file("a,b\n"), "has a header but no rows")
    refused(file("a,b,a\n1,2,3\n"), "columns 1 and 3 are both called 'a'")
    refused(tmp_path / "none.csv", "there is no file")
    refused(tmp_path, "is a folder")
    refused(file("a,b\nx,Zürich\n".encode("latin-1")), "line 2: this is not UTF-8")
    refused(file(b"a,b\n\0\0,1\n"), "is no text")
    refused(file('a,b\n1,"x" y\n'), "line 2.*quoting")
    refused(file(gzip.compress(SMALL.encode())[:-9]), "cannot be read")
    refused(file(SMALL), "--delimiter takes one character", delimiter="ab")


def test_a_delimiter_by_name(file):
    assert read_csv(file("a;b\n1,5;2\n"), delimiter="semicolon").column("a") == ["1,5"]


cells = st.text(string.ascii_letters + string.digits + ' ,;"\n', max_size=6).map(str.strip)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=8))
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with path.open("w", newline="") as out:
        csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("one", "two", "three"), *rows])
    raw = read_csv(path, header=True, delimiter=",")
    assert [tuple(row) for row in raw.rows] == rows
