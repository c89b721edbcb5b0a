"""BERT's encoder and heads: what is not covered by the parity with transformers and the contract of encoders."""

import math

import pytest
import torch
from torch import Tensor

from gradus import canon
from gradus.errors import GradusError
from gradus.sequence.encoder.bert import Bert, visible
from gradus.sequence.encoder.heads import BertPretraining, SentenceClassifier, SpanScores, Tagger
from gradus.sequence.encoder.models import adopt


def small(**settings: int) -> Bert:
    torch.manual_seed(0)
    return Bert(30, **{"layers": 2, "heads": 2, "width": 16, "context": 12, **settings}).eval()


def texts() -> tuple[Tensor, Tensor]:
    return torch.randint(5, 30, (3, 12), generator=torch.Generator().manual_seed(1)), torch.tensor([12, 5, 0])


def test_the_sizes_of_the_paper() -> None:
    """110 and 335 million weights with a vocabulary of 30,522 (the paper says 110M and 340M)."""
    for layers, heads, width, weights in ((12, 12, 768, 109_482_240), (24, 16, 1024, 335_141_888)):
        slim = [Bert(2, layers=count, heads=heads, width=width, context=2) for count in (1, 2)]
        one, two = (sum(p.numel() for p in model.parameters()) for model in slim)
        assert one + (layers - 1) * (two - one) + (30_522 + 512 - 4) * width == weights


def test_an_empty_text_spoils_nothing() -> None:
    tokens, lengths = texts()
    assert all(bool(torch.isfinite(state).all()) for state in small()(tokens, lengths))


def test_lengths_of_a_full_batch_need_no_mask() -> None:
    tokens, _ = texts()
    assert visible(torch.tensor([12, 12, 12]), 12, tokens.device) is None
    model = small()
    for one, other in zip(model(tokens), model(tokens, torch.tensor([12, 12, 12])), strict=True):
        assert torch.equal(one, other)


def test_segments_tell_two_texts_apart() -> None:
    tokens, lengths = texts()
    model = small()
    second = (torch.arange(12) >= 6).long().expand(3, 12)
    apart, plain = model(tokens, lengths, second)[-1], model(tokens, lengths)[-1]
    assert not torch.allclose(apart[0], plain[0])
    assert torch.equal(model(tokens, lengths, torch.zeros_like(tokens))[-1], plain)


def test_a_text_beyond_the_context_is_refused() -> None:
    with pytest.raises(GradusError, match="13 tokens is longer than the context of 12"):
        small()(torch.zeros(1, 13, dtype=torch.int64))


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(GradusError, match="at least one"):
        small(layers=0)
    with pytest.raises(GradusError, match="3 heads do not divide"):
        small(heads=3)


def test_masked_words_share_the_embeddings() -> None:
    model = BertPretraining(small())
    names = [name for name, p in model.named_parameters() if p.shape == (30, 16)]
    assert names == ["trunk.tokens.weight"]
    words = model(*texts()[:1]).words
    assert words.shape == (3, 12, 30)
    words[0, 0, 7].backward()
    grad = model.trunk.tokens.weight.grad
    assert grad is not None
    assert bool(grad[7].abs().sum() > 0)


def test_a_fresh_model_knows_nothing() -> None:
    model = BertPretraining(small()).eval()
    tokens, _ = texts()
    said = model(tokens)
    nats = torch.nn.functional.cross_entropy(said.words.flatten(0, 1), tokens.flatten())
    assert abs(float(nats.detach()) - math.log(30)) < 0.1
    assert said.follows is not None
    assert float(said.follows.detach().softmax(1).sub(0.5).abs().max()) < 0.1


def test_a_classifier_goes_on_from_what_was_embedded() -> None:
    tokens, lengths = texts()
    model = SentenceClassifier(small(), 3).eval()
    embedded = model.embed(tokens, lengths)
    assert embedded.shape == (3, 12, 16)
    assert torch.equal(model.from_embedded(embedded, lengths), model(tokens, lengths))
    assert Tagger(small(), 4)(tokens, lengths).shape == (3, 12, 4)
    begin, end = SpanScores(small())(tokens, lengths)
    assert begin.shape == end.shape == (3, 12)


@pytest.mark.parametrize("kind", ["text-classifier", "tagger"])
def test_fine_tuning_starts_from_the_pretrained_trunk(kind: str) -> None:
    size = {"layers": 2, "heads": 2, "width": 16, "context": 12, "vocabulary": 30, "padding": 0}
    pretrained = canon.find("text-encoder", "bert")(**size)
    tuned = canon.find(kind, "bert")(**size, classes=3)
    assert tuned.trunk.state_dict().keys() == pretrained.trunk.state_dict().keys()
    adopt(tuned, pretrained)
    for name, value in tuned.trunk.state_dict().items():
        assert torch.equal(value, pretrained.trunk.state_dict()[name])
    with pytest.raises(GradusError, match="another form"):
        adopt(tuned, canon.find("text-encoder", "bert")(**{**size, "layers": 1}))
    with pytest.raises(GradusError, match="hold an encoder"):
        adopt(tuned, torch.nn.Linear(2, 2))


def test_the_same_settings_build_every_model() -> None:
    takes = [canon.lookup(kind, "bert").parameters.keys() for kind in ("text-encoder", "text-classifier", "tagger")]
    assert takes[0] - {"next_sentence"} == takes[1] - {"classes", "pool"} == takes[2] - {"classes"}
    takes = [canon.lookup(kind, "elmo").parameters.keys() for kind in ("text-encoder", "text-classifier", "tagger")]
    assert takes[0] == takes[1] - {"classes", "reader"} == takes[2] - {"classes", "reader"}


def test_a_classifier_takes_the_first_token_or_the_mean_of_all() -> None:
    tokens, lengths = texts()
    classifier = SentenceClassifier(small(), 3, pool="mean").eval()
    last = classifier.trunk(tokens, lengths)[-1]
    means = torch.stack([row[:count].sum(0) / max(count, 1) for row, count in zip(last, lengths.tolist(), strict=True)])
    assert torch.allclose(classifier(tokens, lengths), classifier.head(means), atol=1e-6)
    classifier(tokens, lengths).sum().backward()
    assert all(p.grad is not None for p in classifier.parameters() if p.requires_grad)
    assert not classifier.trunk.pooler.weight.requires_grad
    first = SentenceClassifier(small(), 3).eval()
    last = first.trunk(tokens, lengths)[-1]
    assert torch.allclose(first(tokens, lengths), first.head(first.trunk.pooled(last)))
    with pytest.raises(GradusError, match="no pooling 'men'; did you mean 'mean'"):
        SentenceClassifier(small(), 3, pool="men")
