"""Tokens of a corpus, random windows and parallel streams: right, resumable, and in bounded memory."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from gradus.data import corpora, corpus_sources
from gradus.data.corpora import load_corpus
from gradus.data.corpus_sources import StreamSource, WindowSource, encode_corpus
from gradus.data.tokenizer import Tokenizer, train_tokenizer
from gradus.errors import GradusError
from gradus.testing.sources import check_source

COUNTED = np.arange(1000, dtype=np.uint16)
LINES = "".join(f"line {i} of a text – with {i * i} words\n" for i in range(2000))


@pytest.mark.parametrize("kind", ["char", "word", "bpe", "wordpiece"])
def test_a_document_is_encoded_as_a_whole(tmp_path: Path, kind: str) -> None:
    (tmp_path / "book.txt").write_text(LINES, encoding="utf-8")
    corpus = load_corpus(str(tmp_path / "book.txt")).train
    made = train_tokenizer(kind, corpus.documents(), size=400, specials=("[UNK]", "[EOS]"))
    found = encode_corpus(corpus, made)
    assert found.dtype == np.uint16
    assert found.tolist() == made.encode("".join(corpus.documents()))


def test_documents_end_with_the_end_token(tmp_path: Path) -> None:
    for i in range(30):
        (tmp_path / f"{i:02}.txt").write_text(f"text {i}")
    corpus = load_corpus(str(tmp_path)).train
    texts = list(corpus.documents())
    made = train_tokenizer("char", texts, specials=("[UNK]", "[EOS]"))
    assert encode_corpus(corpus, made).tolist() == [i for text in texts for i in (*made.encode(text), made.id("[EOS]"))]
    plain = train_tokenizer("char", texts, specials=("[UNK]",))
    assert encode_corpus(corpus, plain).tolist() == plain.encode("".join(texts))


def test_a_large_vocabulary_takes_wider_numbers(tmp_path: Path) -> None:
    words = " ".join(f"w{i}" for i in range(70_000))
    (tmp_path / "words.txt").write_text(words)
    corpus = load_corpus(str(tmp_path / "words.txt"), val_fraction=0, test_fraction=0).train
    made = train_tokenizer("word", [words])
    found = encode_corpus(corpus, made)
    assert found.dtype == np.int32
    assert len(set(found.tolist())) == 70_000


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that passes for larger than memory."""
    path = tmp_path / "large.txt"
    path.write_text("".join(f"{i} {LINES}" for i in range(200)), encoding="utf-8")
    monkeypatch.setattr(corpora, "IN_MEMORY", 1 << 20)
    monkeypatch.setattr(corpus_sources, "IN_MEMORY", 1 << 20)
    return path


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_what_is_larger_than_memory_is_mapped(large: Path, tmp_path: Path, kind: str) -> None:
    made = train_tokenizer(kind, [LINES], size=300)
    corpus = load_corpus(str(large)).train if kind == "char" else load_corpus(str(large), limit=2_000_000).train
    mapped = encode_corpus(corpus, made, tmp_path / "cache")
    assert isinstance(mapped, np.memmap)
    assert np.array_equal(mapped, encode_corpus(corpus, made))
    (kept,) = (tmp_path / "cache").iterdir()
    before = kept.stat().st_mtime_ns
    assert np.array_equal(encode_corpus(corpus, made, tmp_path / "cache"), mapped)
    assert kept.stat().st_mtime_ns == before, "it was encoded again"
    encode_corpus(corpus, train_tokenizer(kind, [LINES + "€"], size=301), tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2, "another tokenizer needs a file of its own"


def _peak(path: Path, made: Tokenizer, folder: Path | None) -> int:
    tracemalloc.start()
    try:
        tokens = encode_corpus(load_corpus(str(path)).train, made, folder)
        source = WindowSource(tokens, batch_size=8, context=32)
        for _ in range(10):
            next(source)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_stays_bounded(large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = train_tokenizer("char", [LINES])
    more = tmp_path / "more.txt"
    more.write_bytes(large.read_bytes() * 2)
    once, twice = (_peak(path, made, tmp_path / "cache") for path in (large, more))
    assert twice < 1.1 * once, "twice the text takes more memory"
    monkeypatch.setattr(corpora, "IN_MEMORY", 1 << 30)
    assert twice < 0.2 * _peak(more, made, None), "it takes a fifth of what it takes in memory, and no more for more"


@pytest.mark.parametrize("mapped", [False, True])
def test_windows_keep_the_contract(tmp_path: Path, mapped: bool) -> None:
    COUNTED.tofile(tmp_path / "tokens")
    tokens = np.memmap(tmp_path / "tokens", np.uint16, "r") if mapped else COUNTED
    # Windows lie anywhere, so an epoch is a number of steps and not a visit to everything.
    check_source(lambda: WindowSource(tokens, batch_size=8, context=16, seed=2), items=lambda batch: [0] * 8)


def test_windows_are_stretches_of_the_text(tmp_path: Path) -> None:
    COUNTED.tofile(tmp_path / "tokens")
    here = WindowSource(COUNTED, batch_size=64, context=10)
    there = WindowSource(np.memmap(tmp_path / "tokens", np.uint16, "r"), batch_size=64, context=10)
    starts = []
    for _ in range(200):
        x, y = next(here)
        assert x.dtype == torch.int64
        assert torch.equal(x, x[:, :1] + torch.arange(10))
        assert torch.equal(y, x + 1)
        for one, other in zip((x, y), next(there), strict=True):
            assert torch.equal(one, other)
        starts.append(x[:, 0])
    found = torch.cat(starts)
    counts = torch.bincount(found, minlength=990).double()
    assert len(counts) == 990, "a window begins where it would run over the end"
    expected = len(found) / 990
    statistic = float(((counts - expected) ** 2 / expected).sum())
    assert abs(statistic - 989) < 4 * (2 * 989) ** 0.5, "places are not uniform (χ² with 989 degrees of freedom)"


def test_windows_of_processes_make_up_the_batch() -> None:
    whole = WindowSource(COUNTED, batch_size=6, context=5, seed=9)
    shares = [WindowSource(COUNTED, batch_size=6, context=5, seed=9, rank=rank, world=3) for rank in range(3)]
    for _ in range(4):
        assert torch.equal(next(whole)[0], torch.cat([next(share)[0] for share in shares]))


def test_an_epoch_reads_as_many_tokens_as_there_are() -> None:
    source = WindowSource(COUNTED, batch_size=5, context=20)
    assert source.batches_per_epoch == 10
    for _ in range(10):
        assert source.epoch == 0
        next(source)
    assert source.epoch == 1


@pytest.mark.parametrize("context", [7, 50, 1000])
def test_streams_keep_the_contract(context: int) -> None:
    source = StreamSource(COUNTED, batch_size=4, context=context)
    assert source.batches_per_epoch == -(-249 // context)
    check_source(
        lambda: StreamSource(COUNTED, batch_size=4, context=context),
        items=lambda batch: batch.y.flatten().tolist(),
        count=4 * 249,
        shuffled=False,
    )


def test_streams_go_on_where_they_stopped() -> None:
    source = StreamSource(COUNTED, batch_size=4, context=50)
    for _ in range(2):
        last = torch.arange(4) * 249
        for step in range(5):
            x, y, fresh = next(source)
            assert fresh.tolist() == [step == 0] * 4
            assert torch.equal(x[:, 0], last)
            assert torch.equal(y, x + 1)
            last = y[:, -1]
    shares = [StreamSource(COUNTED, batch_size=4, context=50, rank=rank, world=2) for rank in range(2)]
    assert torch.equal(next(source).x, torch.cat([next(share).x for share in shares]))


def test_mistakes_are_told() -> None:
    with pytest.raises(GradusError, match="1000 tokens, too few for one window of 1000"):
        WindowSource(COUNTED, batch_size=2, context=1000)
    with pytest.raises(GradusError, match="3 tokens, too few for 4 streams"):
        StreamSource(COUNTED[:3], batch_size=4, context=2)
    for kind in (WindowSource, StreamSource):
        with pytest.raises(GradusError, match="does not divide among 2"):
            kind(COUNTED, batch_size=3, context=2, world=2)
        with pytest.raises(GradusError, match="batch size 0 is not positive"):
            kind(COUNTED, batch_size=0, context=2)
        with pytest.raises(GradusError, match="the text has 1000 tokens but the checkpoint was made with 999"):
            kind(COUNTED, batch_size=2, context=2).load_state_dict({"step": 1, "size": 999})


def test_a_character_never_seen_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abc" * 50)
    corpus = load_corpus(str(tmp_path / "a.txt")).train
    made: Tokenizer = train_tokenizer("char", ["ab"], specials=())
    with pytest.raises(GradusError, match="never saw the character 'c'"):
        encode_corpus(corpus, made)
