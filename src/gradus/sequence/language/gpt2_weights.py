"""GPT-2's published weights: names of transformers' checkpoints to ours and back, from a folder on this machine.

    transformer.wte.weight                    embedding.weight                    V × d, also the output
    transformer.wpe.weight                    positions.weight
    transformer.h.{l}.ln_1 | ln_2             blocks.{l}.norm1 | norm2            .weight .bias
    transformer.h.{l}.attn.c_attn | c_proj    blocks.{l}.attention.qkv | out      .weight transposed, .bias
    transformer.h.{l}.mlp.c_fc | c_proj       blocks.{l}.mlp.linear1 | linear2    .weight transposed, .bias
    transformer.ln_f                          norm                                .weight .bias

The "Conv1D" of GPT-2's code holds a linear layer's matrix as in × out. What is not listed holds no weights (causal
masks), or the embedding a second time (lm_head). The published files leave `transformer.` out.

The folder is one that `save_pretrained` writes, or that was downloaded whole: config.json; model.safetensors, or
several files with an index; tokenizer.json, or vocab.json and merges.txt. GPT-2's `<|endoftext|>`, which ends a
document and begins one, is our `[EOS]`.

References:
    Radford et al. 2019, Language models are unsupervised multitask learners.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from gradus.data.tokenizer import Tokenizer
from gradus.data.tokenizer_layouts import bpe_layout
from gradus.engine.folder import write_atomically
from gradus.errors import GradusError
from gradus.sequence.language.gpt import GPT, gpt
from gradus.sequence.language.product import TextModel

__all__ = [
    "from_hugging_face",
    "load_gpt2",
    "pretrained",
    "save_gpt2",
    "settings_of",
    "to_hugging_face",
    "tokenizer_of",
]

State = dict[str, Tensor]

PARTS = {"wte": "embedding", "wpe": "positions", "ln_f": "norm"}
BLOCK = {
    "ln_1": "norm1", "ln_2": "norm2", "attn.c_attn": "attention.qkv", "attn.c_proj": "attention.out",
    "mlp.c_fc": "mlp.linear1", "mlp.c_proj": "mlp.linear2",
}  # fmt: skip
EMPTY = re.compile(r"(h\.\d+\.attn\.(masked_)?bias|lm_head\.weight)$")
END, OURS = "<|endoftext|>", "[EOS]"

# What a GPT-2 is here; other values of these keys compute something else.
WANTED: dict[str, Any] = {
    "model_type": "gpt2", "layer_norm_epsilon": 1e-5, "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False, "tie_word_embeddings": True,
}  # fmt: skip
GELUS = {"gelu_new": True, "gelu_pytorch_tanh": True, "gelu": False}


def from_hugging_face(state: Mapping[str, Tensor]) -> State:
    """Return weights under our names.

    Args:
        state: under transformers' names, with or without `transformer.` in front.

    Raises:
        GradusError: naming a weight that no GPT-2 has.
    """
    found: State = {}
    for name, value in state.items():
        bare = name.removeprefix("transformer.")
        if EMPTY.fullmatch(bare):
            continue
        stem, _, leaf = bare.rpartition(".")
        numbered = re.fullmatch(r"h\.(\d+)\.(.+)", stem)
        if numbered and numbered[2] in BLOCK:
            ours = f"blocks.{numbered[1]}.{BLOCK[numbered[2]]}"
            value = value.T if value.ndim == 2 else value
        elif stem in PARTS:
            ours = PARTS[stem]
        else:
            raise GradusError(f"{name!r} is no weight of a GPT-2: give a folder that holds one")
        found[f"{ours}.{leaf}"] = value
    return found


def to_hugging_face(state: Mapping[str, Tensor]) -> State:
    """Return weights under transformers' names; those of a model with tied embeddings and learned positions.

    Args:
        state: of one of our models.
    """
    parts = {ours: theirs for theirs, ours in PARTS.items()}
    block = {ours: theirs for theirs, ours in BLOCK.items()}
    found: State = {}
    for name, value in state.items():
        stem, _, leaf = name.rpartition(".")
        numbered = re.fullmatch(r"blocks\.(\d+)\.(.+)", stem)
        theirs = f"h.{numbered[1]}.{block[numbered[2]]}" if numbered else parts[stem]
        found[f"transformer.{theirs}.{leaf}"] = value.T if numbered and value.ndim == 2 else value
    return found


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of our `gpt` for a config.json.

    Args:
        config: as transformers write it.

    Raises:
        GradusError: for another kind of model, or one that computes otherwise than GPT-2.
    """
    for key, value in WANTED.items():
        if config.get(key, value) != value:
            raise GradusError(f"config.json has {key} = {config[key]!r}, and a GPT-2 here has {value!r}: take another")
    activation = config.get("activation_function", "gelu_new")
    if activation not in GELUS:
        raise GradusError(f"config.json has activation_function = {activation!r}, not one of {', '.join(GELUS)}")
    try:
        width = config["n_embd"]
        if config.get("n_inner") not in (None, 4 * width):
            raise GradusError(f"config.json has n_inner = {config['n_inner']}, and a GPT-2 here has 4 · n_embd")
        return {
            "vocabulary": config["vocab_size"], "context": config["n_positions"], "layers": config["n_layer"],
            "heads": config["n_head"], "width": width, "dropout": float(config.get("resid_pdrop", 0.1)), "bias": True,
            "approximate": GELUS[activation],
        }  # fmt: skip
    except KeyError as error:
        raise GradusError(f"config.json says nothing of {error}: it is no GPT-2's") from None


def load_gpt2(folder: str | Path) -> tuple[GPT, dict[str, Any]]:
    """Return the model of a folder, in evaluation mode, and its settings as `gpt` takes them.

    Args:
        folder: with config.json and the weights in safetensors.

    Raises:
        GradusError: if a file is missing or damaged, or it is no GPT-2.
    """
    place = Path(folder)
    settings = settings_of(_json(place, "config.json"))
    state = from_hugging_face(_weights(place))
    model = gpt(**settings)
    assert isinstance(model, GPT)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise GradusError(
            f"the weights in {place} do not fit its config.json: {str(error).splitlines()[-1].strip()}"
        ) from None
    return model.eval(), settings


def save_gpt2(model: nn.Module, folder: str | Path) -> None:
    """Write a model as transformers' `GPT2LMHeadModel.from_pretrained` reads it.

    Args:
        model: with learned positions, tied embeddings, full attention and biases.
        folder: made when missing; a tokenizer's files are left to the caller.

    Raises:
        GradusError: if no GPT-2 computes what the model does.
    """
    first: Any = model.blocks[0] if isinstance(model, GPT) else None
    if (
        not isinstance(model, GPT) or model.positions is None or model.output is not None
        or first.attention.kernel != "full" or first.norm1.bias is None
    ):  # fmt: skip
        raise GradusError(
            "GPT-2 has learned positions, tied embeddings, full attention and biases: train with --set bias=true and "
            "the defaults of the others"
        )
    rate = model.dropout.p
    config = {
        "architectures": ["GPT2LMHeadModel"], **WANTED, "vocab_size": model.vocabulary, "n_positions": model.context,
        "n_embd": model.embedding.embedding_dim, "n_layer": len(model.blocks), "n_head": first.attention.heads,
        "activation_function": "gelu_new" if first.mlp.gelu.approximate else "gelu", "resid_pdrop": rate,
        "embd_pdrop": rate, "attn_pdrop": rate, "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().cpu().contiguous() for key, value in to_hugging_face(model.state_dict()).items()}
    write_atomically(place / "model.safetensors", save(tensors, {"format": "pt"}))
    write_atomically(place / "config.json", json.dumps(config, indent=1) + "\n")


def tokenizer_of(folder: str | Path) -> Tokenizer:
    """Return GPT-2's byte-level tokenizer of a folder, `<|endoftext|>` as `[EOS]`.

    Args:
        folder: with tokenizer.json, or with vocab.json and merges.txt.

    Raises:
        GradusError: if there is none, or it is damaged.
    """
    place = Path(folder)
    if (place / "tokenizer.json").exists():
        layout = _json(place, "tokenizer.json")
    elif (place / "vocab.json").exists():
        ids = _json(place, "vocab.json")
        lines = _text(place, "merges.txt").splitlines()
        merges = [(a, b) for a, _, b in (line.partition(" ") for line in lines if not line.startswith("#version")) if b]
        layout = bpe_layout(sorted(ids, key=ids.__getitem__), (), False, merges)
    else:
        raise GradusError(f"{place} has no tokenizer.json, nor vocab.json and merges.txt: copy them there")
    try:
        return Tokenizer(_with_our_end(layout))
    except (GradusError, KeyError, TypeError, AttributeError) as error:
        raise GradusError(f"the tokenizer in {place} cannot be read ({error}): fetch it again") from None


def _with_our_end(layout: dict[str, Any]) -> dict[str, Any]:
    """Return a layout whose only special token is the end of a document, under our name."""
    ids = {OURS if token == END else token: i for token, i in layout["model"]["vocab"].items()}
    if OURS not in ids:
        raise GradusError(f"it has no {END}")
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": ids[OURS], "content": OURS, **flags}]
    return {**layout, "added_tokens": added, "post_processor": None, "model": {**layout["model"], "vocab": ids}}


def pretrained(folder: str | Path) -> TextModel:
    """Return the language model of a folder, ready to be used, saved, or gone on with by training.

    Args:
        folder: with GPT-2's configuration, weights and tokenizer.

    Raises:
        GradusError: if a file is missing or damaged, or it is no GPT-2.
    """
    model, settings = load_gpt2(folder)
    tokenizer = tokenizer_of(folder)
    if len(tokenizer) != model.vocabulary:
        raise GradusError(
            f"the tokenizer in {folder} has {len(tokenizer)} tokens and the weights are of {model.vocabulary}: bring "
            "the files of one model"
        )
    vocabulary, context = settings.pop("vocabulary"), settings.pop("context")
    facts = {
        "model": "gpt", "vocabulary": vocabulary, "context": context, "settings": settings, "documents": True,
        "tokenizer": tokenizer.fingerprint,
    }  # fmt: skip
    return TextModel(model, tokenizer, facts)


def _weights(place: Path) -> State:
    """Return the tensors of all of a folder's files of weights."""
    files = ["model.safetensors"]
    if not (place / files[0]).exists() and (place / "model.safetensors.index.json").exists():
        files = sorted(set(_json(place, "model.safetensors.index.json").get("weight_map", {}).values()))
    found: State = {}
    for name in files:
        try:
            found |= load((place / name).read_bytes())
        except FileNotFoundError:
            raise GradusError(f"{place} has no {name}: give a folder with config.json and safetensors") from None
        except (OSError, SafetensorError) as error:
            raise GradusError(f"{place / name} cannot be read ({error}): fetch it again") from None
    return found


def _text(place: Path, name: str) -> str:
    try:
        return (place / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise GradusError(f"{place} has no {name}: give a folder that holds a GPT-2") from None
    except (OSError, UnicodeDecodeError) as error:
        raise GradusError(f"{place / name} cannot be read ({error}): fetch it again") from None


def _json(place: Path, name: str) -> dict[str, Any]:
    try:
        body = json.loads(_text(place, name))
    except json.JSONDecodeError as error:
        raise GradusError(f"{place / name} is damaged ({error}): fetch it again") from None
    if not isinstance(body, dict):
        raise GradusError(f"{place / name} is damaged (it holds no object): fetch it again")
    return body
