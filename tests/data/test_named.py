"""What `--data` means: a registered name, whatever its hyphens, or a path."""

from pathlib import Path

import pytest

from gradus import canon
from gradus.data.named import named, path_of
from gradus.errors import GradusError


def test_a_name_wins_over_a_folder_of_that_name_and_a_dot_makes_it_a_path() -> None:
    Path("python-roles").mkdir()
    entry = named("python-roles", "tag-set")
    assert entry is not None
    assert canon.load(entry).__name__ == "python_roles"
    assert named("./python-roles", "tag-set") is named("~/python-roles", "tag-set") is None
    assert path_of("./python-roles", "tag set", ["python-roles"]) == Path("python-roles")


@pytest.mark.parametrize("data", ["python_roles", "Python-Roles"])
def test_hyphens_underscores_and_capitals_are_alike(data: str) -> None:
    assert named(data, "tag-set") is named("python-roles", "tag-set") is not None


def test_a_kind_knows_its_own_names_only() -> None:
    assert named("python-roles", "corpus") is None


def test_what_is_nowhere_is_said_in_a_sentence() -> None:
    with pytest.raises(GradusError, match="there is no corpus, file or folder 'bok'; did you mean 'book'"):
        path_of("bok", "corpus", ["book"])
    for data in ("./bok", "shelf/bok"):
        with pytest.raises(GradusError, match="bok does not exist: name a file, a folder or a registered corpus"):
            path_of(data, "corpus", ["book"])
