"""Language models in use: what they say is what they believe, and it comes as soon as it is certain."""

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.data.tokenizer import train_tokenizer
from gradus.engine.product import load_from
from gradus.errors import GradusError
from gradus.sequence.language.decoding import Decoding
from gradus.sequence.language.generation import generate
from gradus.sequence.language.ngram import NGram
from gradus.sequence.language.product import TextModel, certain, until
from gradus.sequence.language.recurrent import RecurrentModel

DOCUMENTS = ["the cat sat on the mat", "a dog sat on a log", "the dog ate the cat", "cats and dogs and mats"]


def counted(kind="char", documents=DOCUMENTS, order=3, known=True, **settings):
    """Return a product of counts: after [EOS] every document begins anew, where documents are known."""
    specials = ("[EOS]",) if kind == "bpe" else ("[UNK]", "[EOS]")
    size = {"size": 257} if kind == "bpe" else {}  # bytes and [EOS]: no character beyond ASCII is one token
    tokenizer = train_tokenizer(kind, documents, specials=specials, **size)
    end = [tokenizer.id("[EOS]")] if known else []
    stream = [token for text in documents for token in [*tokenizer.encode(text), *end]]
    module = NGram(len(tokenizer), order=order, **settings).fit(torch.tensor([*end, *stream]))
    facts = {
        "model": "ngram", "vocabulary": len(tokenizer), "context": 0, "settings": {"order": order, **settings},
        "documents": known, "tokenizer": tokenizer.fingerprint,
    }  # fmt: skip
    return TextModel(module.eval(), tokenizer, facts)


def said(product, prompt, **settings):
    return "".join(product.complete(prompt, **settings))


def test_samples_come_from_the_distribution():
    """Chi-square of 20,000 draws against the probabilities that the n-gram computes; known to fail for a wrong one."""
    product = counted()
    prompt = product.tokenizer.encode("the")
    p = product.module.probabilities(torch.tensor([prompt]))[0][0, -1]
    draws = generate(
        product.module, [prompt] * 20_000, max_new_tokens=1, decoding=Decoding(),
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    counts = torch.bincount(next(draws), minlength=len(p)).double()
    assert p_value(counts, p) > 0.001
    assert p_value(counts, (p + 0.05) / (p + 0.05).sum()) < 1e-6


def p_value(counts, p):
    """Return the chance of a larger chi-square; tokens expected less than five times count as one."""
    rare = p * counts.sum() < 5
    seen, wanted = (torch.cat([x[~rare], x[rare].sum()[None]]) for x in (counts, p * counts.sum()))
    statistic = ((seen - wanted).square() / wanted.clamp(min=1e-9)).sum()
    return float(torch.special.gammaincc(torch.tensor((len(seen) - 1) / 2.0).double(), statistic / 2))


def test_a_completion_is_a_function_of_the_seed():
    product = counted()
    assert said(product, "the", seed=3, max_new_tokens=20) == said(product, "the", seed=3, max_new_tokens=20)
    assert len({said(product, "the", seed=seed, max_new_tokens=9) for seed in range(4)}) > 1
    greedy = {"temperature": 0, "max_new_tokens": 20}
    assert said(product, "the c", **greedy) == said(product, "the c", **greedy, seed=9)


def test_documents_begin_and_end():
    product = counted(order=4)
    first = {said(product, "", seed=seed, temperature=1.0, max_new_tokens=1) for seed in range(20)}
    assert {"t", "a"} <= first
    assert all(len(said(product, "", seed=seed)) < 200 for seed in range(3)), "no document ends"
    endless = counted(known=False)
    assert len(said(endless, "the", max_new_tokens=90)) == 90
    with pytest.raises(GradusError, match="give a prompt"):
        endless.complete("")


def test_special_tokens_are_never_said():
    product = counted(kind="word", order=1)
    product.module.counts1[product.tokenizer.id("[UNK]")] = 1000
    product.module._derive()
    pieces = said(product, "the", max_new_tokens=60, temperature=1.0).split()
    assert pieces
    assert set(pieces) <= set(product.tokenizer.tokens) - {"[UNK]", "[EOS]"}


def test_it_stops_before_a_stop_string():
    product = counted(documents=["abcabcabcabcabc"], known=False, smoothing="add-k", k=0.0)
    assert said(product, "a", temperature=0, max_new_tokens=7) == "bcabcab"
    assert said(product, "a", temperature=0, stop=("ca",)) == "b"
    assert said(product, "a", temperature=0, stop=("cab", "bca")) == ""
    assert said(product, "a", temperature=0, max_new_tokens=4, stop=("cabd",)) == "bcab"
    pieces = list(product.complete("a", temperature=0, max_new_tokens=6, stop=("cc",)))
    assert pieces == ["b", "ca", "b", "ca"]
    with pytest.raises(GradusError, match="empty stop string"):
        product.complete("a", stop=("",))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text("abc", max_size=3), max_size=12), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_stop_strings_over_any_pieces(pieces, stops):
    text = "".join(pieces)
    ends = [text.find(stop) for stop in stops if stop in text]
    found = "".join(until(iter(pieces), stops))
    # A stop string may be complete before one that began earlier: the first to be complete ends the text.
    complete = [min(i for i in range(len(text) + 1) if text[:i].endswith(stop)) for stop in stops if stop in text]
    if not ends:
        assert found == text
    else:
        assert text.startswith(found)
        assert len(found) <= min(complete)
        assert not any(stop in found for stop in stops)
        assert len(found) >= min(ends)


@settings(max_examples=100, deadline=None)
@given(st.text("ab", max_size=6), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_certain_is_as_much_as_can_be(text, stops):
    if any(stop in text for stop in stops):
        return
    sure = certain(text, stops)
    assert not any(stop.startswith(text[i:]) for stop in stops for i in range(sure) if text[i:])
    assert sure == len(text) or any(stop.startswith(text[sure:]) for stop in stops)


def test_bytes_wait_until_they_are_a_character():
    text = "naïve café 😀 über 漢字 "
    product = counted(kind="bpe", documents=[text * 5], order=9, known=False, smoothing="add-k", k=0.0)
    assert len(product.tokenizer.encode("😀")) == 4
    for most in (31, 32, 33):
        pieces = list(product.complete("naïve", temperature=0, max_new_tokens=most))
        assert "\N{REPLACEMENT CHARACTER}" not in "".join(pieces)
        assert (text * 3)[len("naïve") :].startswith("".join(pieces))
        assert len("".join(pieces).encode()) > most - 4
        assert len(pieces) > 10


def test_words_are_said_with_blanks_between():
    product = counted(kind="word", order=3, smoothing="add-k", k=0.0)
    assert said(product, "the cat sat", temperature=0, max_new_tokens=3).split() == ["on", "the", "mat"]
    assert said(product, "the cat sat", temperature=0, max_new_tokens=1).startswith(" ")


def test_the_probability_of_a_text():
    product = counted(order=4)
    text = "the dog"
    tokens = [product.end, *product.tokenizer.encode(text)]
    logs, _ = product.module.log_probs(torch.tensor([tokens[:-1]]), torch.tensor([tokens[1:]]))
    assert product.log_prob(text) == pytest.approx(float(logs.sum()))
    assert product.perplexity(text) == pytest.approx(math.exp(-product.log_prob(text) / len(text)))
    assert product.log_prob("the dog") > product.log_prob("god eht")
    singles = sum(math.exp(product.log_prob(token)) for token in product.tokenizer.tokens if len(token) == 1)
    special = product.module.probabilities(torch.tensor([[product.end]]))[0][0, -1, :2].sum()
    assert singles + float(special) == pytest.approx(1.0)


def test_characters_never_seen_are_named():
    product = counted()
    for call in (lambda: product.complete("the Ω and @"), lambda: product.log_prob("Ω @")):
        with pytest.raises(GradusError, match=r"never had 'Ω', '@'.*--tokenizer bpe"):
            call()
    words = counted(kind="word")
    with pytest.warns(UserWarning, match="1 words are not in the vocabulary.*zebra"):
        assert math.isfinite(words.log_prob("the zebra sat"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counted(kind="bpe").log_prob("Ω @ zebra")


def test_it_comes_back_whole(tmp_path):
    product = counted(order=4)
    product.save(tmp_path)
    again = load_from(tmp_path)
    assert repr(again) == repr(product)
    assert said(again, "the", seed=5) == said(product, "the", seed=5)
    assert again.log_prob("the cat") == product.log_prob("the cat")


def test_another_tokenizer_is_refused(tmp_path):
    product = counted()
    product.save(tmp_path)
    train_tokenizer("char", ["other text"], specials=("[UNK]", "[EOS]")).save(tmp_path)
    with pytest.raises(GradusError, match="not the one that these weights were learned with"):
        load_from(tmp_path)


def test_tied_weights_are_saved_once(tmp_path):
    tokenizer = train_tokenizer("char", DOCUMENTS, specials=("[UNK]", "[EOS]"))
    facts = {
        "model": "lstm", "vocabulary": len(tokenizer), "context": 8, "settings": {"width": 16}, "documents": True,
        "tokenizer": tokenizer.fingerprint,
    }  # fmt: skip
    product = TextModel(RecurrentModel("lstm", len(tokenizer), width=16).eval(), tokenizer, facts)
    product.save(tmp_path)
    numbers = 4 * sum(p.numel() for p in product.module.parameters())
    assert numbers < (tmp_path / "model.safetensors").stat().st_size < numbers + 4 * 16 * len(tokenizer)
    assert load_from(tmp_path).log_prob("the cat") == product.log_prob("the cat")
