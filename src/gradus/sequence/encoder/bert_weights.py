"""BERT's weights under the names that Hugging Face's transformers give them, in both directions, in local folders.

    folder/  config.json  model.safetensors  vocab.txt (or tokenizer.json)

Query, key and value are three matrices there and one here; the scores of masked words share the embeddings in both;
nothing else differs but the names.

References:
    Devlin, Chang, Lee, Toutanova 2019, BERT: pre-training of deep bidirectional Transformers for language
    understanding.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from gradus.engine.folder import write_atomically
from gradus.errors import GradusError, nearest
from gradus.sequence.encoder.bert import EPS, Bert
from gradus.sequence.encoder.heads import BertPretraining, SentenceClassifier, SpanScores, Tagger

__all__ = ["from_hugging_face", "load_bert", "save_bert", "settings_of", "to_hugging_face"]

State = dict[str, Tensor]

PARTS = {
    "trunk.tokens": "bert.embeddings.word_embeddings",
    "trunk.positions": "bert.embeddings.position_embeddings",
    "trunk.segments": "bert.embeddings.token_type_embeddings",
    "trunk.norm": "bert.embeddings.LayerNorm",
    "trunk.pooler": "bert.pooler.dense",
    "words.transform": "cls.predictions.transform.dense",
    "words.norm": "cls.predictions.transform.LayerNorm",
    "words": "cls.predictions",
    "follows": "cls.seq_relationship",
}
BLOCK = {
    "attention.out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "mlp.linear1": "intermediate.dense",
    "mlp.linear2": "output.dense",
    "norm2": "output.LayerNorm",
}
QKV = tuple(f"attention.self.{part}" for part in ("query", "key", "value"))
OLD = {"gamma": "weight", "beta": "bias"}  # how the first checkpoints called the parts of a normalisation
DERIVED = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias", "bert.embeddings.position_ids")
ARCHITECTURES: dict[str, tuple[type[nn.Module], str]] = {
    "BertModel": (Bert, ""),
    "BertForPreTraining": (BertPretraining, ""),
    "BertForSequenceClassification": (SentenceClassifier, "classifier"),
    "BertForTokenClassification": (Tagger, "classifier"),
    "BertForQuestionAnswering": (SpanScores, "qa_outputs"),
}


def _parts(layers: int, head: str) -> dict[str, str]:
    """Return our names of modules with theirs."""
    blocks = {
        f"trunk.blocks.{i}.{ours}": f"bert.encoder.layer.{i}.{theirs}"
        for i in range(layers)
        for ours, theirs in BLOCK.items()
    }
    return {**PARTS, **blocks, **({"head": head} if head else {})}


def from_hugging_face(state: Mapping[str, Tensor]) -> State:
    """Return weights under our names, those of the encoder below `trunk.`.

    Args:
        state: under the names of any of transformers' BERT models, with or without `bert.` in front.

    Raises:
        GradusError: naming a weight that no BERT has.
    """
    bare = not any(name.startswith("bert.") for name in state)
    given: State = {}
    for name, value in state.items():
        stem, _, leaf = (f"bert.{name}" if bare else name).rpartition(".")
        given[f"{stem}.{OLD.get(leaf, leaf)}"] = value
    layers = 1 + max((int(n.split(".")[3]) for n in given if n.startswith("bert.encoder.layer.")), default=-1)
    head = next((name for name in ("classifier", "qa_outputs") if f"{name}.weight" in given), "")
    theirs = {their: our for our, their in _parts(layers, head).items()}
    found: State = {}
    for i in range(layers):
        for leaf in ("weight", "bias"):
            names = [f"bert.encoder.layer.{i}.{part}.{leaf}" for part in QKV]
            found[f"trunk.blocks.{i}.attention.qkv.{leaf}"] = torch.cat([_taken(given, name) for name in names])
    for name, value in given.items():
        stem, _, leaf = name.rpartition(".")
        if name in DERIVED:
            continue
        if stem not in theirs:
            raise GradusError(f"{name!r} is no weight of a BERT{nearest(stem, theirs)}")
        found[f"{theirs[stem]}.{leaf}"] = value
    return found


def _taken(given: State, name: str) -> Tensor:
    if name not in given:
        raise GradusError(f"the weight {name!r} is missing: this is no BERT, or its file is not whole")
    return given.pop(name)


def to_hugging_face(state: Mapping[str, Tensor], head: str = "") -> State:
    """Return weights under transformers' names.

    Args:
        state: of one of our models, the encoder below `trunk.`.
        head: their name of what is `head` here: classifier or qa_outputs.
    """
    layers = 1 + max((int(name.split(".")[2]) for name in state if name.startswith("trunk.blocks.")), default=-1)
    parts = _parts(layers, head)
    found: State = {}
    for name, value in state.items():
        stem, _, leaf = name.rpartition(".")
        if stem.endswith(".attention.qkv"):
            block = f"bert.encoder.layer.{stem.split('.')[2]}"
            found.update({f"{block}.{part}.{leaf}": third for part, third in zip(QKV, value.chunk(3))})
        else:
            assert stem in parts, f"{name} has no name there"
            found[f"{parts[stem]}.{leaf}"] = value
    return found


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of our `Bert` for a `config.json`.

    Args:
        config: as transformers write it.

    Raises:
        GradusError: for another kind of model, or one that computes otherwise than the paper's.
    """
    wanted = {
        "model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": EPS, "type_vocab_size": 2, "is_decoder": False,
        "add_cross_attention": False,
    }  # fmt: skip
    for key, value in wanted.items():
        if config.get(key, value) != value:
            raise GradusError(
                f"config.json has {key} = {config[key]!r}, and a BERT here has {value!r}: take another model"
            )
    try:
        return {
            "vocabulary": config["vocab_size"], "layers": config["num_hidden_layers"],
            "heads": config["num_attention_heads"], "width": config["hidden_size"],
            "hidden": config["intermediate_size"], "context": config["max_position_embeddings"],
            "dropout": float(config.get("hidden_dropout_prob", 0.1)),
        }  # fmt: skip
    except KeyError as error:
        raise GradusError(f"config.json says nothing of {error}: it is no BERT's") from None


def _read(folder: Path) -> tuple[dict[str, Any], State]:
    """Return a folder's configuration and weights, as they are there."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return config, load((folder / "model.safetensors").read_bytes())
    except FileNotFoundError as error:
        name = Path(error.filename).name
        raise GradusError(f"{folder} has no {name}: give a folder with config.json and model.safetensors") from None
    except (OSError, ValueError, SafetensorError) as error:
        raise GradusError(f"the model in {folder} cannot be read ({error}): fetch it again") from None


def load_bert(folder: str | Path, architecture: str | None = None) -> nn.Module:
    """Return the model of a folder that transformers' `save_pretrained` wrote, in evaluation mode.

    Args:
        folder: with `config.json` and `model.safetensors`.
        architecture: one of transformers' names, such as BertForPreTraining; what the folder holds by default. Parts
            that the folder lacks (a pooler, a head) are drawn afresh.

    Raises:
        GradusError: if it is no BERT, or lacks weights of the encoder.
    """
    config, given = _read(Path(folder))
    name = architecture or next(iter(config.get("architectures") or ["BertModel"]))
    if name not in ARCHITECTURES:
        raise GradusError(f"there is no BERT called {name!r}{nearest(name, ARCHITECTURES)}")
    state = from_hugging_face(given)
    model = _empty(ARCHITECTURES[name][0], Bert(**settings_of(config)), state)
    if isinstance(model, Bert):
        state = {key.removeprefix("trunk."): value for key, value in state.items() if key.startswith("trunk.")}
    try:
        missing = model.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as error:
        raise GradusError(
            f"the weights in {folder} do not fit its config.json: {str(error).splitlines()[-1].strip()}"
        ) from None
    lacking = [
        key for key in missing if key.removeprefix("trunk.").startswith(("tokens", "blocks", "norm", "positions"))
    ]
    if lacking:
        raise GradusError(f"{folder} lacks the weights {', '.join(lacking[:3])}: fetch it again")
    return model.eval()


def _empty(form: type[nn.Module], trunk: Bert, state: State) -> nn.Module:
    makers: dict[type[nn.Module], Callable[[], nn.Module]] = {
        Bert: lambda: trunk,
        BertPretraining: lambda: BertPretraining(trunk),
        SpanScores: lambda: SpanScores(trunk),
        SentenceClassifier: lambda: SentenceClassifier(trunk, _classes(state)),
        Tagger: lambda: Tagger(trunk, _classes(state)),
    }
    return makers[form]()


def _classes(state: State) -> int:
    return len(state["head.bias"]) if "head.bias" in state else 2


def save_bert(model: nn.Module, folder: str | Path) -> None:
    """Write a model as transformers' `from_pretrained` reads it.

    Args:
        model: a `Bert`, or one of the models around it.
        folder: made when missing; a tokenizer's files are left to the caller.
    """
    name, head = next((key, head) for key, (form, head) in ARCHITECTURES.items() if isinstance(model, form))
    trunk = model if isinstance(model, Bert) else model.trunk
    assert isinstance(trunk, Bert)
    state = {f"trunk.{k}" if trunk is model else k: v for k, v in model.state_dict().items()}
    if isinstance(model, SpanScores | Tagger):  # transformers' have no pooler
        state = {key: value for key, value in state.items() if not key.startswith("trunk.pooler.")}
    theirs = to_hugging_face(state, head)
    if trunk is model:
        theirs = {key.removeprefix("bert."): value for key, value in theirs.items()}
    block: Any = trunk.blocks[0]
    config = {
        "architectures": [name], "model_type": "bert", "vocab_size": trunk.vocabulary,
        "num_hidden_layers": len(trunk.blocks), "num_attention_heads": block.attention.heads,
        "hidden_size": trunk.width, "intermediate_size": block.mlp.linear1.out_features,
        "max_position_embeddings": trunk.context, "hidden_dropout_prob": trunk.dropout.p,
        "attention_probs_dropout_prob": trunk.dropout.p, "hidden_act": "gelu", "layer_norm_eps": EPS,
        "type_vocab_size": 2, "pad_token_id": 0, "tie_word_embeddings": True,
        **_labels(model),
    }  # fmt: skip
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().cpu().contiguous() for key, value in theirs.items()}
    write_atomically(place / "model.safetensors", save(tensors, {"format": "pt"}))
    write_atomically(place / "config.json", json.dumps(config, indent=1) + "\n")


def _labels(model: nn.Module) -> dict[str, Any]:
    if not isinstance(model, SentenceClassifier | Tagger):
        return {}
    count = model.head.out_features
    return {
        "id2label": {str(i): f"LABEL_{i}" for i in range(count)},
        "label2id": {f"LABEL_{i}": i for i in range(count)},
    }
