"""Word vectors from a text file, of word2vec or GloVe: a word and its numbers in each line.

The first line may say how many vectors there are and how long. The file is read line by line and only the words that
are wanted stay, so that it may be larger than memory.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gradus.errors import GradusError

__all__ = ["read_vectors"]


def read_vectors(path: Path, wanted: Collection[str]) -> dict[str, Tensor]:
    """Return the vectors of the words that are wanted; of a word that is not there, that of its small letters.

    Args:
        path: of a UTF-8 text file.
        wanted: words.

    Raises:
        GradusError: if the file is missing, is no text, or a line has another length, naming it.
    """
    asked = set(wanted) | {word.lower() for word in wanted}
    found: dict[str, Tensor] = {}
    size = None
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                word, *numbers = line.rstrip().split(" ")
                if number == 1 and len(numbers) == 1:
                    continue
                if len(numbers) < 2 or len(numbers) != (size or len(numbers)):
                    wanted_size = f"{size} numbers" if size else "numbers"
                    raise GradusError(
                        f"{path}, line {number} has {len(numbers)} fields behind the word, not {wanted_size}: give a "
                        "word and its vector in each line, blanks between"
                    )
                size = len(numbers)
                if word in asked:
                    found[word] = torch.from_numpy(np.array(numbers, dtype=np.float32))
    except FileNotFoundError:
        raise GradusError(f"--vectors: there is no file {path}") from None
    except UnicodeDecodeError:
        raise GradusError(f"--vectors: {path} is no text; save the vectors in the text format") from None
    except (OSError, ValueError) as error:
        raise GradusError(f"--vectors: {path} cannot be read ({error})") from None
    odd = next((word for word, vector in found.items() if not bool(vector.isfinite().all())), None)
    if odd is not None:
        raise GradusError(f"--vectors: the vector of {odd!r} in {path} is not finite")
    if size is None:
        raise GradusError(f"--vectors: {path} is empty")
    return {word: found.get(word, found.get(word.lower(), torch.empty(0))) for word in wanted
            if word in found or word.lower() in found}  # fmt: skip
