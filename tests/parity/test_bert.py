"""BERT against transformers' on the same random weights, passed through folders in both directions."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradus.data.tokenizer import train_tokenizer
from gradus.errors import GradusError
from gradus.sequence.encoder.bert import Bert
from gradus.sequence.encoder.bert_weights import from_hugging_face, load_bert, save_bert, to_hugging_face
from gradus.sequence.encoder.heads import BertPretraining
from gradus.sequence.encoder.product import TextEncoder, read_vocabulary

transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-5
SIZE = {
    "vocab_size": 97, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 112,
    "max_position_embeddings": 40,
}  # fmt: skip


def peer(name: str, folder: Path, **more: Any) -> nn.Module:
    """Return transformers' model with random weights of a size that matters, saved to a folder."""
    torch.manual_seed(7)
    model = getattr(transformers, name)(transformers.BertConfig(**SIZE, **more)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn_like(p) * (0.15 if p.ndim > 1 else 0.3) + (1.0 if p.ndim == 1 else 0.0))
    model.save_pretrained(folder)
    return model


def batch() -> dict[str, Tensor]:
    """Return sequences of different lengths in two segments."""
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(1, 97, (5, 33), generator=generator)
    lengths = torch.tensor([33, 20, 7, 1, 28])
    segments = (torch.arange(33) >= 9).long().expand(5, 33).contiguous()
    there = torch.arange(33) < lengths[:, None]
    return {"tokens": tokens * there, "lengths": lengths, "segments": segments, "there": there}


def asked(b: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"input_ids": b["tokens"], "attention_mask": b["there"].long(), "token_type_ids": b["segments"]}


def ours(model: nn.Module, b: dict[str, Tensor]) -> Any:
    return model(b["tokens"], b["lengths"], b["segments"])


def gap(one: Tensor, other: Tensor) -> float:
    return float((one - other).detach().abs().max())


def test_every_layer_and_the_pooler(tmp_path: Path) -> None:
    theirs, b = peer("BertModel", tmp_path), batch()
    said = theirs(**asked(b), output_hidden_states=True)
    model = load_bert(tmp_path)
    states = ours(model, b)
    assert len(states) == len(said.hidden_states) == 4
    for mine, other in zip(states, said.hidden_states, strict=True):
        assert gap(mine[b["there"]], other[b["there"]]) < TOLERANCE
    assert isinstance(model, Bert)
    assert gap(model.pooled(states[-1]), said.pooler_output) < TOLERANCE


def test_pretraining_scores_and_loss(tmp_path: Path) -> None:
    theirs, b = peer("BertForPreTraining", tmp_path), batch()
    labels = torch.where(torch.rand(5, 33, generator=torch.Generator().manual_seed(1)) < 0.2, b["tokens"], -100)
    labels = labels.where(b["there"], torch.tensor(-100))
    follows = torch.tensor([0, 1, 1, 0, 1])
    said = theirs(**asked(b), labels=labels, next_sentence_label=follows)
    found = ours(load_bert(tmp_path), b)
    assert gap(found.words[b["there"]], said.prediction_logits[b["there"]]) < TOLERANCE
    assert gap(found.follows, said.seq_relationship_logits) < TOLERANCE
    loss = F.cross_entropy(found.words.flatten(0, 1), labels.flatten()) + F.cross_entropy(found.follows, follows)
    assert gap(loss, said.loss) < TOLERANCE


def test_scores_at_a_few_places_are_those_of_all(tmp_path: Path) -> None:
    peer("BertForPreTraining", tmp_path)
    b, model = batch(), load_bert(tmp_path)
    places = torch.tensor([0, 3, 40, 70])
    few = model(b["tokens"], b["lengths"], b["segments"], places).words
    assert gap(few, ours(model, b).words.flatten(0, 1)[places]) < TOLERANCE


def test_sentence_classification_scores_and_loss(tmp_path: Path) -> None:
    theirs, b = peer("BertForSequenceClassification", tmp_path, num_labels=3), batch()
    labels = torch.tensor([0, 2, 1, 1, 0])
    said = theirs(**asked(b), labels=labels)
    found = ours(load_bert(tmp_path), b)
    assert gap(found, said.logits) < TOLERANCE
    assert gap(F.cross_entropy(found, labels), said.loss) < TOLERANCE


def test_token_classification_scores_and_loss(tmp_path: Path) -> None:
    theirs, b = peer("BertForTokenClassification", tmp_path, num_labels=4), batch()
    labels = torch.where(b["there"], b["tokens"] % 4, -100)
    said = theirs(**asked(b), labels=labels)
    found = ours(load_bert(tmp_path), b)
    assert gap(found[b["there"]], said.logits[b["there"]]) < TOLERANCE
    assert gap(F.cross_entropy(found.flatten(0, 1), labels.flatten()), said.loss) < TOLERANCE


def test_span_scores_and_loss(tmp_path: Path) -> None:
    theirs, b = peer("BertForQuestionAnswering", tmp_path), batch()
    begins, ends = torch.tensor([3, 2, 1, 0, 20]), torch.tensor([5, 9, 4, 0, 27])
    said = theirs(**asked(b), start_positions=begins, end_positions=ends)
    begin, end = ours(load_bert(tmp_path), b)
    assert gap(begin[b["there"]], said.start_logits[b["there"]]) < TOLERANCE
    assert gap(end[b["there"]], said.end_logits[b["there"]]) < TOLERANCE
    assert gap((F.cross_entropy(begin, begins) + F.cross_entropy(end, ends)) / 2, said.loss) < TOLERANCE


@pytest.mark.parametrize(
    "name",
    [
        "BertModel",
        "BertForPreTraining",
        "BertForSequenceClassification",
        "BertForTokenClassification",
        "BertForQuestionAnswering",
    ],
)
def test_the_way_back(name: str, tmp_path: Path) -> None:
    first = peer(name, tmp_path / "theirs")
    save_bert(load_bert(tmp_path / "theirs"), tmp_path / "ours")
    again, info = getattr(transformers, name).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    for key, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    assert again.config.intermediate_size == 112


def test_names_there_and_back_are_the_same() -> None:
    model = transformers.BertForPreTraining(transformers.BertConfig(**SIZE))
    state = {k: v for k, v in model.state_dict().items() if "decoder" not in k}
    again = to_hugging_face(from_hugging_face(state))
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)


def test_the_first_checkpoints_names_are_understood() -> None:
    state = transformers.BertModel(transformers.BertConfig(**SIZE)).state_dict()
    old = {k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
           for k, v in state.items()}  # fmt: skip
    assert from_hugging_face(old).keys() == from_hugging_face(state).keys()


def test_gradients_agree_too(tmp_path: Path) -> None:
    theirs, b = peer("BertForSequenceClassification", tmp_path, num_labels=3), batch()
    model = load_bert(tmp_path)
    theirs(**asked(b)).logits.square().sum().backward()
    ours(model, b).square().sum().backward()
    grads = from_hugging_face({k: p.grad for k, p in theirs.named_parameters()})
    scale = max(float(grad.abs().max()) for grad in grads.values())
    for key, p in model.named_parameters():
        assert p.grad is not None
        assert gap(p.grad, grads[key]) < TOLERANCE * scale, key


def test_what_is_no_bert_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GradusError, match=r"no config.json"):
        load_bert(tmp_path)
    transformers.GPT2Config().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(GradusError, match="cannot be read"):
        load_bert(tmp_path)
    with pytest.raises(GradusError, match="no weight of a BERT"):
        from_hugging_face({"bert.embeddings.word_embedding.weight": torch.zeros(2, 2)})
    peer("BertModel", tmp_path, layer_norm_eps=1e-5)
    with pytest.raises(GradusError, match="layer_norm_eps"):
        load_bert(tmp_path)


TEXTS = ["The unreadable Café, re-read!", "naïve 東京 (2019) don't", "", "[MASK] is no mask", "x" * 150]


@pytest.mark.parametrize("lower", [False, True])
def test_texts_are_cut_as_there(lower: bool, tmp_path: Path) -> None:
    words = (
        "[PAD] [unused0] [UNK] [CLS] [SEP] [MASK] the The un ##read ##able cafe café , ! re read - 東 ( 2019 ) don ' t"
    )
    (tmp_path / "vocab.txt").write_text("\n".join(words.split()) + "\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(f'{{"do_lower_case": {str(lower).lower()}}}')
    theirs = transformers.BertTokenizer.from_pretrained(tmp_path, do_lower_case=lower)
    ours = read_vocabulary(tmp_path)
    assert [ours.id(name) for name in ("[PAD]", "[UNK]", "[CLS]", "[MASK]")] == [0, 2, 3, 5]
    for text in TEXTS:
        if "[MASK]" not in text:  # there, a text that spells a special token becomes it; here it never does
            assert ours.encode(text) == theirs.encode(text, add_special_tokens=False), text


def test_our_encoder_says_the_same_there(tmp_path: Path) -> None:
    """Text in, features out: what we write is read by transformers, tokenizer included."""
    specials = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    tokenizer = train_tokenizer("wordpiece", ["the cat sat on the mat", "a dog ate it"] * 4, size=60, specials=specials)
    settings = {"layers": 2, "heads": 2, "width": 16, "hidden": 40, "context": 32, "dropout": 0.1}
    torch.manual_seed(0)
    module = BertPretraining(Bert(len(tokenizer), **settings)).eval()
    product = TextEncoder(module, tokenizer, "bert", {**settings, "next_sentence": True})
    product.to_hugging_face(tmp_path)
    reader = transformers.AutoTokenizer.from_pretrained(tmp_path)
    theirs = transformers.AutoModel.from_pretrained(tmp_path).eval()
    text = "the dog sat on it"
    asked = reader(text, return_tensors="pt")
    assert asked["input_ids"][0, 1:-1].tolist() == tokenizer.encode(text)
    said = theirs(**asked, output_hidden_states=True).hidden_states
    for mine, other in zip(product.features([text]), said, strict=True):
        assert gap(mine, other) < TOLERANCE
