"""GPT-2 and its decoding against transformers: the same weights, texts and logits."""

import json

import pytest
import torch

from gradus.errors import GradusError
from gradus.sequence.language.decoding import Decoding, distribution
from gradus.sequence.language.generation import generate
from gradus.sequence.language.gpt import gpt
from gradus.sequence.language.gpt2_weights import (
    from_hugging_face,
    load_gpt2,
    pretrained,
    save_gpt2,
    to_hugging_face,
    tokenizer_of,
)

transformers = pytest.importorskip("transformers")

SIZES = {"vocab_size": 307, "n_positions": 48, "n_embd": 24, "n_layer": 3, "n_head": 4}
TEXT = "ROMEO:\nO, she doth teach the torches to burn bright! It seems she hangs upon the cheek of night… 🌹 don't"


def peer(**settings):
    """Return transformers' model with random weights of which none is zero or one."""
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**{**SIZES, **settings}))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    return model.eval()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Return transformers' model and ours, loaded from the folder it was saved to."""
    folder = tmp_path_factory.mktemp("gpt2")
    theirs = peer()
    theirs.save_pretrained(folder)
    ours, settings = load_gpt2(folder)
    assert settings["layers"] == 3
    assert settings["bias"]
    return theirs, ours


def tokens(batch=3, time=40, vocabulary=307):
    return torch.randint(vocabulary, (batch, time), generator=torch.Generator().manual_seed(1))


def test_logits_and_loss(both):
    theirs, ours = both
    text = tokens()
    expected = theirs(text, labels=text)
    logits, _ = ours(text)
    assert torch.allclose(logits, expected.logits, atol=1e-5)
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), text[:, 1:].flatten())
    assert torch.allclose(loss, expected.loss, atol=1e-5)


def test_gradients(both):
    theirs, ours = both
    text = tokens()
    theirs(text, labels=text).loss.backward()
    loss = torch.nn.functional.cross_entropy(ours(text)[0][:, :-1].flatten(0, 1), text[:, 1:].flatten())
    expected = from_hugging_face({name: p.grad for name, p in theirs.named_parameters()})
    names, parameters = zip(*ours.named_parameters())
    for name, found in zip(names, torch.autograd.grad(loss, parameters)):
        assert torch.allclose(found, expected[name], atol=1e-5), name
    theirs.zero_grad()


@pytest.mark.parametrize("activation", ["gelu", "gelu_pytorch_tanh"])
def test_other_activations_in_several_files(tmp_path, activation):
    theirs = peer(activation_function=activation)
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    ours, _ = load_gpt2(tmp_path)
    assert torch.allclose(ours(tokens())[0], theirs(tokens()).logits, atol=1e-5)


def test_the_published_files_leave_the_prefix_out(both):
    theirs, ours = both
    bare = {name.removeprefix("transformer."): value for name, value in theirs.state_dict().items()}
    bare["h.0.attn.bias"], bare["h.0.attn.masked_bias"] = torch.ones(1, 1, 48, 48), torch.tensor(-1e4)
    found = from_hugging_face(bare)
    assert found.keys() == ours.state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in ours.state_dict().items())


def test_names_go_there_and_back(both):
    _, ours = both
    there = to_hugging_face(ours.state_dict())
    back = from_hugging_face(there)
    assert all(torch.equal(back[name], value) for name, value in ours.state_dict().items())


def test_ours_is_read_by_transformers(tmp_path):
    torch.manual_seed(0)
    for approximate in (False, True):
        ours = gpt(vocabulary=29, context=20, layers=2, heads=2, width=16, bias=True, approximate=approximate).eval()
        save_gpt2(ours, tmp_path)
        theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path).eval()
        text = tokens(2, 20, 29)
        assert torch.allclose(ours(text)[0], theirs(text).logits, atol=1e-5)
    for settings in ({}, {"bias": True, "rotary": True}, {"bias": True, "tie": False}):
        with pytest.raises(GradusError, match="bias=true"):
            save_gpt2(gpt(vocabulary=29, **settings), tmp_path)


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_generation_token_for_token(both, penalty):
    theirs, ours = both
    prompts = [tokens()[0, :7].tolist(), tokens()[1, :3].tolist(), tokens()[2, :12].tolist()]
    longest = max(map(len, prompts))
    padded = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
    there = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    decoding = Decoding(temperature=0.0, repetition_penalty=penalty)
    found = torch.stack(list(generate(ours, prompts, max_new_tokens=30, decoding=decoding)), 1)
    for i, prompt in enumerate(prompts):
        alone = theirs.generate(
            torch.tensor([prompt]), max_new_tokens=30, do_sample=False, repetition_penalty=penalty, pad_token_id=0,
            eos_token_id=None,
        )  # fmt: skip
        assert found[i].tolist() == alone[0, len(prompt) :].tolist()
    if penalty == 1:  # theirs counts the padding among what was seen
        expected = theirs.generate(
            padded, attention_mask=there, max_new_tokens=30, do_sample=False, pad_token_id=0, eos_token_id=None
        )
        assert torch.equal(found, expected[:, longest:])


@pytest.mark.parametrize(
    "settings",
    [{"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.8}, {"repetition_penalty": 1.4},
     {"temperature": 1.6, "top_k": 40, "top_p": 0.9, "repetition_penalty": 0.8}],
    ids=str,
)  # fmt: skip
def test_the_distribution_is_that_of_their_processors_in_their_order(settings):
    generator = torch.Generator().manual_seed(3)
    logits, text = torch.randn(6, 307, generator=generator) * 3, tokens(6, 20)
    seen = torch.zeros(6, 307, dtype=torch.bool).scatter(1, text, True)
    order = [
        ("repetition_penalty", transformers.RepetitionPenaltyLogitsProcessor),
        ("temperature", transformers.TemperatureLogitsWarper), ("top_k", transformers.TopKLogitsWarper),
        ("top_p", transformers.TopPLogitsWarper),
    ]  # fmt: skip
    processors = transformers.LogitsProcessorList([made(settings[name]) for name, made in order if name in settings])
    expected = processors(text, logits.clone()).softmax(-1)
    assert torch.allclose(distribution(logits, Decoding(**settings), seen), expected, atol=1e-6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder as `save_pretrained` writes it, tokenizer included; a small one, trained here."""
    from tokenizers import ByteLevelBPETokenizer

    place = tmp_path_factory.mktemp("whole")
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator([TEXT] * 50, vocab_size=307, special_tokens=["<|endoftext|>"], show_progress=False)
    trained.save_model(str(place))
    peer(vocab_size=trained.get_vocab_size()).save_pretrained(place)
    return place


def test_the_tokenizer_from_either_kind_of_file(folder, tmp_path):
    theirs = transformers.GPT2TokenizerFast.from_pretrained(folder)
    ours = tokenizer_of(folder)
    theirs.save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").exists()
    again = tokenizer_of(tmp_path)
    for text in (TEXT, " two  spaces\n\n", "Ünïcödé 漢字 👩‍👩‍👧", ""):
        assert ours.encode(text) == again.encode(text) == theirs(text)["input_ids"]
        assert ours.decode(ours.encode(text)) == text
    assert ours.id("[EOS]") == theirs.eos_token_id
    assert theirs.eos_token_id not in ours.encode("<|endoftext|>")


def test_a_pretrained_model_completes_and_is_kept(folder, tmp_path):
    from gradus.engine.product import load_from

    product = pretrained(folder)
    settings = {"max_new_tokens": 12, "temperature": 0.0}
    text = "".join(product.complete("ROMEO:", **settings))
    theirs = transformers.GPT2LMHeadModel.from_pretrained(folder)
    prompt = [product.tokenizer.id("[EOS]"), *product.tokenizer.encode("ROMEO:")]
    there = torch.ones(1, len(prompt), dtype=torch.long)  # else the end of a document would be taken for padding
    end = {"eos_token_id": prompt[0], "pad_token_id": prompt[0]}
    expected = theirs.generate(torch.tensor([prompt]), attention_mask=there, max_new_tokens=12, do_sample=False, **end)
    cut = "\N{REPLACEMENT CHARACTER}"  # random weights say bytes that make no character
    assert text.rstrip(cut) == product.tokenizer.decode(expected[0, len(prompt) :].tolist()).rstrip(cut) != ""
    product.save(tmp_path / "product")
    again = load_from(tmp_path / "product")
    assert "".join(again.complete("ROMEO:", **settings)) == text


def edited(folder, place, **changes):
    """Copy a folder with another config.json."""
    for path in folder.iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({k: v for k, v in {**config, **changes}.items() if v != "gone"}))
    return place


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [({"model_type": "bert"}, "model_type"), ({"activation_function": "relu"}, "activation_function"),
     ({"scale_attn_by_inverse_layer_idx": True}, "inverse_layer"), ({"n_inner": 7}, "n_inner"),
     ({"n_embd": "gone"}, "n_embd"), ({"n_layer": 4}, "do not fit"), ({"n_positions": 20}, "do not fit"),
     ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon"), ({"tie_word_embeddings": False}, "tie_word")],
)  # fmt: skip
def test_what_is_no_gpt_2_is_refused(folder, tmp_path, changes, sentence):
    with pytest.raises(GradusError, match=sentence):
        load_gpt2(edited(folder, tmp_path, **changes))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [("config.json", None, "has no config.json"), ("model.safetensors", None, "has no model.safetensors"),
     ("config.json", b"{", "damaged"), ("config.json", b"[]", "damaged"),
     ("model.safetensors", b"xx", "cannot be read"),
     ("vocab.json", None, "has no tokenizer.json"), ("merges.txt", None, "has no merges.txt"),
     ("vocab.json", b'{"a": 0}', "endoftext"), ("vocab.json", b'{"<|endoftext|>": 0}', "cannot be read"),
     ("merges.txt", b"a b\nno pair", "cannot be read"), ("config.json", b"\xff", "cannot be read")],
)  # fmt: skip
def test_missing_and_damaged_files_are_named(folder, tmp_path, name, content, sentence):
    edited(folder, tmp_path)
    (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
    with pytest.raises(GradusError, match=sentence):
        pretrained(tmp_path)


def test_a_tokenizer_of_another_model_is_refused(folder, tmp_path):
    edited(folder, tmp_path)
    ids = json.loads((tmp_path / "vocab.json").read_text())
    (tmp_path / "vocab.json").write_text(json.dumps({**ids, "more": len(ids)}))
    with pytest.raises(GradusError, match="308 tokens and the weights are of 307"):
        pretrained(tmp_path)


def test_a_weight_of_another_model_is_named():
    with pytest.raises(GradusError, match=r"h\.0\.crossattention"):
        from_hugging_face({"transformer.h.0.crossattention.c_attn.weight": torch.zeros(1)})


def test_a_run_goes_on_from_the_folder(folder, tmp_path, capsys):
    """The command line takes the folder as it is; what comes out completes text with the folder's tokenizer."""
    from gradus.app.cli import main

    text = tmp_path / "text.txt"
    text.write_text(TEXT * 30, encoding="utf-8")
    words = ["train", "sequence/language-model", "--data", text, "--model", "gpt", "--from", folder, "--context", "16"]
    steps = ["--max-steps", "3", "--batch-size", "2", "--name", "on", "--runs-dir", tmp_path, "--quiet"]
    assert main([str(word) for word in [*words, *steps]]) == 0, capsys.readouterr().err
    assert main(["complete", "on", "O, she", "--max-new-tokens", "4", "--runs-dir", str(tmp_path)]) == 0
    assert main([str(w) for w in [*words, "--tokenizer", "word", "--runs-dir", tmp_path]]) == 2
    assert "--tokenizer" in capsys.readouterr().err
