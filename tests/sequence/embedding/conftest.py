"""A small text of two topics, and a vocabulary for tests of the parts."""

import pytest
import torch

from gradus.sequence.embedding.vocabulary import Vocabulary

KITCHEN = ["pan", "oven", "salt", "soup", "knife", "bread"]
HARBOUR = ["ship", "sail", "rope", "crew", "anchor", "deck"]


@pytest.fixture
def vocabulary():
    words = tuple(KITCHEN + HARBOUR)
    return Vocabulary(words, torch.arange(len(words), 0, -1))


@pytest.fixture(scope="session")
def story(tmp_path_factory):
    """Return a folder of files: each speaks of a kitchen or of a harbour, and of neither."""
    folder = tmp_path_factory.mktemp("story")
    generator = torch.Generator().manual_seed(0)
    for i in range(40):
        topic = KITCHEN if i % 2 else HARBOUR
        drawn = torch.randint(0, 6, (120,), generator=generator).tolist()
        words = [topic[j] if k % 3 else "The" for k, j in enumerate(drawn)]
        (folder / f"{i:02d}.txt").write_text(" ".join(words) + ".\n")
    return folder
