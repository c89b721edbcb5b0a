"""Against the `tokenizers` library's own trainers and readers, and transformers' reading of our files."""

import json
from pathlib import Path

import pytest

from gradus.data.corpora import load_corpus
from gradus.data.tokenizer import SPECIALS, Tokenizer, train_tokenizer

tokenizers = pytest.importorskip("tokenizers")
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers  # noqa: E402

LETTERS = "naïve café – «日本語» 👍🏽 e\u0301 ½ Straße\u00a0x\r\n\t don't we'll"


@pytest.fixture(scope="module")
def text() -> str:
    return "".join(load_corpus("python-source", limit=300_000).train.documents()) + LETTERS * 3


@pytest.mark.parametrize("size, least", [(1000, 1), (3000, 1), (8000, 3)])
def test_merges_are_those_of_the_librarys_trainer(text: str, size: int, least: int) -> None:
    peer = tokenizers.Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    settings = {"special_tokens": ["[PAD]", "[UNK]"], "initial_alphabet": alphabet, "show_progress": False}
    peer.train_from_iterator([text], trainers.BpeTrainer(vocab_size=size, min_frequency=least, **settings))
    expected, ours = json.loads(peer.to_str())["model"], train_tokenizer("bpe", [text], size=size, least=least)
    assert ours.layout["model"]["merges"] == expected["merges"]
    assert ours.layout["model"]["vocab"] == expected["vocab"]
    assert ours.encode(text[:20_000]) == peer.encode(text[:20_000]).ids


@pytest.mark.parametrize("lowercase", [False, True])
def test_pieces_are_encoded_as_by_berts_own_pipeline(text: str, lowercase: bool) -> None:
    ours = train_tokenizer("wordpiece", [text], size=2000, lowercase=lowercase)
    vocabulary = {token: i for i, token in enumerate(ours.tokens)}
    peer = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    peer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    peer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    some = text[-20_000:] + "zebra ಠ quux"
    encoded = peer.encode(some)
    assert ours.encode(some) == encoded.ids
    assert ours.spans(some) == encoded.offsets
    peer.decoder = decoders.WordPiece(cleanup=False)
    assert ours.decode(ours.encode("def f")) == peer.decode(peer.encode("def f").ids)


@pytest.mark.parametrize("kind", ["char", "word", "bpe", "wordpiece"])
@pytest.mark.parametrize("lowercase", [False, True])
def test_the_library_reads_our_file(text: str, tmp_path: Path, kind: str, lowercase: bool) -> None:
    ours = train_tokenizer(kind, [text], size=1500, specials=SPECIALS, lowercase=lowercase)
    ours.save(tmp_path)
    peer = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for some in (text[:20_000], text[-2000:], LETTERS, "ΟΔΟΣ İstanbul \0 ಠ"):
        encoded = peer.encode(some)
        assert ours.encode(some) == encoded.ids
        assert ours.spans(some) == encoded.offsets
        assert ours.decode(encoded.ids) == peer.decode(encoded.ids)


def test_transformers_reads_our_file(text: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    ours = train_tokenizer("bpe", [text], size=1000)
    ours.save(tmp_path)
    peer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    assert peer(text[:5000])["input_ids"] == ours.encode(text[:5000])


def test_files_of_others_are_read(text: str, tmp_path: Path) -> None:
    peer = tokenizers.Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    peer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    peer.train_from_iterator([text], trainer)
    peer.add_special_tokens(["<|endoftext|>"])
    peer.enable_truncation(5)
    peer.enable_padding(length=9)
    peer.save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer.load(tmp_path)
    peer.no_truncation()
    peer.no_padding()
    assert (ours.kind, ours.specials, len(ours)) == ("bpe", ("<|endoftext|>",), 601)
    assert ours.id("<|endoftext|>") == 600
    assert ours.encode(text[:3000]) == peer.encode(text[:3000]).ids
    assert 600 not in ours.encode("a<|endoftext|>b"), "text does not turn into special tokens"
    assert ours.decode([*ours.encode(LETTERS), 600]) == LETTERS
