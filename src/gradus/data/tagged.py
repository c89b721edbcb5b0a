"""`load_tagged`: sentences whose every token has a tag, from a registered set, a file or a folder; divided.

    EU     B-ORG          {"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]}
    rejects    O

    sentences.conll            a token and its tag a line, the tag last; a blank line between sentences
    sentences.jsonl            an object with `tokens` and `tags` a line
    corpus/train.conll, …      divided already: train, val (or dev, valid) and test

Equal sentences stay on one side of a division.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from gradus import canon
from gradus.data.folder import SPLITS
from gradus.data.named import named, path_of
from gradus.data.splits import partition
from gradus.data.tagged_sets import NamedTags
from gradus.data.text_files import read_lines, suffix_of
from gradus.errors import GradusError, nearest

__all__ = ["TAGGED", "TaggedSet", "TaggedSplits", "load_tagged", "read_tagged", "read_tokens"]

Sentences = list[tuple[list[str], list[str]]]
PARTS = {**SPLITS, "dev": "val", "development": "val"}
JSON = (".jsonl", ".ndjson")
TAGGED = (".conll", ".conllu", ".conll03", ".bio", ".iob", ".tags")  # files of nothing else
COLUMNS = (*TAGGED, ".tsv", *JSON)


@dataclass(frozen=True)
class TaggedSet:
    """Sentences with tags.

    Attributes:
        tokens: of each sentence.
        tags: one for each token.
    """

    tokens: Sequence[Sequence[str]]
    tags: Sequence[Sequence[str]]

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class TaggedSplits:
    """Tagged sentences, divided.

    Attributes:
        train: to learn from.
        val: to choose by.
        test: to measure with.
        tags: the names of all, in the order of the alphabet.
        name: of the data.
        fingerprint: of its contents and what of it is used.
    """

    train: TaggedSet
    val: TaggedSet
    test: TaggedSet
    tags: tuple[str, ...]
    name: str
    fingerprint: str

    @property
    def spans(self) -> bool:
        """Whether the tags say where spans begin (B-…), go on (I-…) and what is outside of all (O)."""
        return (
            "O" in self.tags and all(tag == "O" or tag[:2] in ("B-", "I-") for tag in self.tags) and len(self.tags) > 1
        )


def load_tagged(
    data: str,
    *,
    data_dir: str | Path | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    folds: int | None = None,
    fold: int = 0,
    limit: int | None = None,
) -> TaggedSplits:
    """Return the splits of a registered set, a file or a folder.

    Splits that the data fixes stay as they are; those it lacks are taken out of train by seed.

    Args:
        data: a registered name, or a path; a name wins, `./name` is always a path.
        data_dir: where to look first for the files of a registered set.
        val_fraction: share of the sentences for val, where the data does not fix it.
        test_fraction: the same for test.
        seed: of the division.
        folds: for cross-validation: of all sentences outside a fixed test set, one of this many parts becomes test.
        fold: which part.
        limit: the most sentences of each split; None for all.

    Raises:
        GradusError: if there is no such data, or it cannot be used, naming file and line.
    """
    named = _opened(data, data_dir)
    sentences = [(list(tokens), list(tags)) for tokens, tags in named.sentences]
    contents = [tuple(tokens) for tokens, _ in sentences]
    fixed = {part: torch.tensor(rows, dtype=torch.int64) for part, rows in named.parts.items()}
    parts = partition(
        torch.zeros(len(sentences), dtype=torch.int64), lambda rows: [contents[i] for i in rows.tolist()], fixed,
        {"val": val_fraction, "test": test_fraction}, seed=seed, folds=folds, fold=fold, limit=limit, noun="sentences",
    )  # fmt: skip
    sets = {p: [sentences[i] for i in rows.tolist()] for p, rows in parts.items()}
    known = {tag for _, tags in sets["train"] for tag in tags}
    for part in ("val", "test"):
        strange = next((tag for _, tags in sets[part] for tag in tags if tag not in known), None)
        if strange is not None and part in named.parts:
            raise GradusError(f"the tag {strange!r} of {part} is not in train{nearest(strange, known)}")
        sets[part] = [pair for pair in sets[part] if known.issuperset(pair[1])]
    if len(known) < 2:
        raise GradusError(f"{data} has one tag only ({', '.join(known)!r}): a tagger needs at least two")
    mark = hashlib.sha256(repr([named.fingerprint, *(rows.tolist() for rows in parts.values())]).encode()).hexdigest()
    made = {p: TaggedSet([tokens for tokens, _ in own], [tags for _, tags in own]) for p, own in sets.items()}
    return TaggedSplits(**made, tags=tuple(sorted(known)), name=Path(data).name, fingerprint=mark)


def read_tagged(path: str | Path) -> Sentences:
    """Return the sentences of a file: tokens, and as many tags.

    Args:
        path: JSON lines with `tokens` and `tags`, or columns separated by blanks, the token first and the tag last.

    Raises:
        GradusError: naming the line that is neither.
    """
    path = Path(path).expanduser()
    found = list(_from_json(path, True) if suffix_of(path) in JSON else _from_columns(path, True))
    if not found:
        raise GradusError(f"{path} has no sentences: write a token and its tag a line, and a blank line between two")
    return found


def read_tokens(path: str | Path) -> list[list[str]]:
    """Return the tokens of sentences to be tagged.

    Args:
        path: a file as `read_tagged` takes, with or without tags; or plain text, a sentence a line, whose words and
            marks are taken apart.

    Raises:
        GradusError: naming the line that cannot be read.
    """
    from gradus.data.tagged_sets import WORD

    path = Path(path).expanduser()
    kind = suffix_of(path)
    if kind in COLUMNS:
        return [tokens for tokens, _ in (_from_json(path, False) if kind in JSON else _from_columns(path, False))]
    return [found for line in read_lines(path) if (found := WORD.findall(line))]


def _from_columns(path: Path, tagged: bool) -> Iterator[tuple[list[str], list[str]]]:
    """Give the sentences of a file with a token a line."""
    tokens, tags = list[str](), list[str]()
    lines = [[field.strip() for field in line.split("\t" if "\t" in line else None)] for line in read_lines(path)]
    plain = (fields for fields in lines if any(fields) and fields[0] not in ("#", "-DOCSTART-"))
    width = len(next(plain, ()))
    for number, fields in enumerate(lines, 1):
        if not any(fields) or fields[0] == "-DOCSTART-":
            if tokens:
                yield tokens, tags
            tokens, tags = [], []
            continue
        if fields[0] == "#" and len(fields) not in (width, 1) and not tokens:
            continue  # a comment of CoNLL-U, which stands in front of a sentence
        width = width or len(fields)
        if len(fields) != width or (tagged and width < 2) or not fields[0] or not fields[-1]:
            wanted = "a token and its tag" if width < 2 or len(fields) < 2 else f"{width} columns as before"
            raise GradusError(
                f"{path}, line {number}: {' '.join(fields)[:60]!r} is not {wanted}, separated by a blank or tab"
            )
        tokens.append(fields[0])
        tags.append(fields[-1])
    if tokens:
        yield tokens, tags


def _from_json(path: Path, tagged: bool) -> Iterator[tuple[list[str], list[str]]]:
    """Give the sentences of a file with an object a line."""
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            tokens, tags = record["tokens"], record["tags"] if tagged else []
        except (ValueError, KeyError, TypeError):
            tokens, tags = [None], []
        if not _words(tokens) or (tagged and not _words(tags)):
            raise GradusError(f'{path}, line {number} is not {{"tokens": ["…"], "tags": ["…"]}} in JSON: write it so')
        if tagged and len(tokens) != len(tags):
            raise GradusError(f"{path}, line {number} has {len(tokens)} tokens and {len(tags)} tags: give one a token")
        if tokens:
            yield tokens, tags


def _words(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) and word for word in value)


def _opened(data: str, data_dir: str | Path | None) -> NamedTags:
    """Return the sentences that a name or a path means."""
    found = named(data, "tag-set")
    if found is not None:
        return canon.load(found)(data_dir)
    path = path_of(data, "tag set", canon.names("tag-set"))
    if path.is_dir():
        files = {PARTS[f.name.split(".")[0].lower()]: f for f in sorted(path.iterdir()) if _part(f)}
        if "train" not in files:
            raise GradusError(f"{path} has no file called train: add train.conll, or name one file")
        read = {part: read_tagged(files[part]) for part in ("train", "val", "test") if part in files}
    else:
        read = {"train": read_tagged(path)}
    sentences: Sentences = []
    parts: dict[str, range] = {}
    for part, own in read.items():
        parts[part] = range(len(sentences), len(sentences) + len(own))
        sentences += own
    return NamedTags(sentences, parts, hashlib.sha256(repr(sentences).encode()).hexdigest())


def _part(file: Path) -> bool:
    return file.is_file() and file.name.split(".")[0].lower() in PARTS
