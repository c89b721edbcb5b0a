"""The same BLEU as sacrebleu, digit for digit, and the same perplexity as torchmetrics."""

import gzip
import os
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.metrics import BLEU, Perplexity
from gradus.metrics.bleu import tokenise

sacrebleu = pytest.importorskip("sacrebleu.metrics")
tokenizer = pytest.importorskip("sacrebleu.tokenizers.tokenizer_13a").Tokenizer13a()
torchmetrics = pytest.importorskip("torchmetrics.text")

SMOOTHING = [("none", None), ("exp", None), ("floor", None), ("floor", 0.3), ("add-k", None), ("add-k", 2.5)]
WORDS = "a b c d dog dogs, 3.5 1,000 don't well-known (x) &amp; end."


def sentences(generator: random.Random, count: int, longest: int = 12, words: str = WORDS) -> list[str]:
    return [" ".join(generator.choices(words.split(), k=generator.randint(0, longest))) for _ in range(count)]


def check(hypotheses, references, smoothing="exp", value=None, tokeniser="13a", lowercase=False):
    """Stream in unequal parts and compare every number; sacrebleu wants references by stream."""
    ours = BLEU(smoothing=smoothing, smoothing_value=value, tokeniser=tokeniser, lowercase=lowercase)
    for start, stop in ((0, 1), (1, 4), (4, len(hypotheses))):
        ours.update(hypotheses[start:stop], references[start:stop])
    peer = sacrebleu.BLEU(
        smooth_method=smoothing, smooth_value=value, tokenize=tokeniser, lowercase=lowercase, force=True
    )
    streams = [list(stream) for stream in zip(*references)]
    theirs, found = peer.corpus_score(hypotheses, streams), ours.compute()
    assert float(found.score) == pytest.approx(theirs.score, rel=1e-13, abs=1e-13)
    assert found.precisions.tolist() == pytest.approx(theirs.precisions, rel=1e-13)
    assert float(found.brevity_penalty) == pytest.approx(theirs.bp, rel=1e-13)
    assert (int(found.length), int(found.reference_length)) == (theirs.sys_len, theirs.ref_len)
    return float(found.score)


@pytest.mark.parametrize(("smoothing", "value"), SMOOTHING)
@pytest.mark.parametrize("tokeniser", ["13a", "none"])
@pytest.mark.parametrize("width", [1, 3])
def test_random_sentences(smoothing, value, tokeniser, width):
    generator = random.Random(width)
    scores = []
    # n-grams that never match, sentences too short to have any, and words that come again and again.
    for longest, count, words in ((2, 5, WORDS), (4, 40, WORDS), (12, 5, WORDS), (12, 40, WORDS), (15, 20, "a b c.")):
        hypotheses = sentences(generator, count, longest, words)
        references = [sentences(generator, width, longest, words) for _ in range(count)]
        scores.append(check(hypotheses, references, smoothing, value, tokeniser))
    assert max(scores) > 0


def test_lower_case():
    generator = random.Random(5)
    hypotheses = [sentence.upper() for sentence in sentences(generator, 30)]
    references = [sentences(generator, 2) for _ in range(30)]
    assert check(hypotheses, references, lowercase=True) > check(hypotheses, references)


def test_nothing_in_common():
    for smoothing, value in SMOOTHING:
        assert check(["a b c d e"] * 5, [["v w x y z"]] * 5, smoothing, value) == 0


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab7 .,-'\"&;<>!?()[]{}|~`^_@#$%*+/=:\\\né€\t", max_size=24))
def test_13a_tokens_of_any_text(text):
    assert tokenise(text) == tokenizer(text.rstrip()).split()


@pytest.mark.parametrize(
    "text", ["&quot;So&quot;, &lt;he&gt; &amp;amp; I", "a <skipped>b c-\nd e\nf", "pp. 3-4, 1.5,2"]
)
def test_13a_tokens_of_entities(text):
    assert tokenise(text) == tokenizer(text).split()


def test_real_translations():
    """German read as English, and English with words dropped and swapped, of Multi30k."""
    folder = Path(os.environ.get("GRADUS_DATA", "/nonexistent")) / "multi30k"
    if not folder.is_dir():
        pytest.skip("Multi30k is not there: set GRADUS_DATA")
    english, german = (
        gzip.decompress((folder / f"test_2016_flickr.{tongue}.gz").read_bytes()).decode().splitlines()[:300]
        for tongue in ("en", "de")
    )
    generator = random.Random(0)
    noisy = [" ".join(word for word in line.split() if generator.random() > 0.15) for line in english]
    references = [[line] for line in english]
    assert check(german, references) < 5 < 40 < check(noisy, references) < 90
    assert check(english, references) == pytest.approx(100, rel=1e-14)
    check(noisy, [[line, other] for line, other in zip(english, german)])


def test_perplexity():
    generator = torch.Generator().manual_seed(0)
    ours, theirs = Perplexity(ignore=-100), torchmetrics.Perplexity(ignore_index=-100)
    for length in (7, 1, 12):
        scores = 3 * torch.randn(4, length, 11, generator=generator)
        labels = torch.randint(0, 11, (4, length), generator=generator)
        labels[torch.rand(4, length, generator=generator) < 0.3] = -100
        ours.update(scores, labels)
        theirs.update(scores, labels)
    assert float(ours.compute().perplexity) == pytest.approx(float(theirs.compute()), rel=1e-5)
