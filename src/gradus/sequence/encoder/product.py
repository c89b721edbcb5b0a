"""A pretrained encoder ready to be used: texts in, vectors of texts or of their tokens out, by layer.

product/  model.safetensors  product.json  tokenizer.json
"""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gradus import canon as registry
from gradus.canon import canon
from gradus.data.ragged import Ragged, padded
from gradus.data.tokenizer import SPECIALS, Tokenizer
from gradus.data.tokenizer_layouts import wordpiece_layout
from gradus.engine.product import load_weights, save_product
from gradus.engine.state import State
from gradus.errors import GradusError
from gradus.sequence.encoder.bert_weights import load_bert, save_bert
from gradus.sequence.encoder.elmo import ElmoPretraining
from gradus.sequence.encoder.heads import BertPretraining, OnBert
from gradus.sequence.encoder.rows import framed

__all__ = ["TextEncoder", "encoded", "encoder", "matching", "read_vocabulary"]

AT_ONCE = 64


@canon("sequence/text-encoder", kind="product")
class TextEncoder:
    """An encoder of texts.

    Args:
        module: of kind `text-encoder`.
        tokenizer: of its texts.
        model: the registered name of the module.
        settings: with which it was built, besides what the tokenizer says.
    """

    kind = "an encoder of texts"

    def __init__(self, module: OnBert | ElmoPretraining, tokenizer: Tokenizer, model: str, settings: State) -> None:
        self.module, self.tokenizer, self.model, self.settings = module, tokenizer, model, settings

    def __repr__(self) -> str:
        return f"TextEncoder({self.model}, {self.tokenizer}, width {self.module.width})"

    @property
    def device(self) -> torch.device:
        """Where the product computes."""
        return next(self.module.parameters()).device

    def features(self, texts: Sequence[str]) -> list[Float[Tensor, "texts time width"]]:
        """Return the features of every token in every layer, the embeddings' first; zero in the padding.

        Special tokens stand around each text, so token t of a text is at t + 1.

        Args:
            texts: any number; those longer than the context are cut, with a warning.
        """
        with torch.inference_mode():
            return self._layers(*self._tokens(texts))

    def embed(self, texts: Sequence[str], *, layer: int = -1, pooling: str = "mean") -> Float[Tensor, "texts *rest"]:
        """Return a vector for each text, or for each of its tokens.

        Args:
            texts: any number; those longer than the context are cut, with a warning.
            layer: which one's features; 0 are the embeddings, −1 is the last layer.
            pooling: mean over the text's own tokens; cls, the special token in front; none, every token, zero in the
                padding.

        Raises:
            GradusError: for a layer that is not there, or another pooling.
        """
        if pooling not in ("mean", "cls", "none"):
            raise GradusError(f"pooling is mean, cls or none, not {pooling!r}")
        if not texts:
            return torch.zeros(0, self.module.width)
        tokens, lengths = self._tokens(texts)
        found: Tensor | None = None
        with torch.inference_mode():
            for rows in lengths.argsort().split(AT_ONCE):
                longest = int(lengths[rows].max())
                states = self._layers(tokens[rows, :longest], lengths[rows])
                if not -len(states) <= layer < len(states):
                    raise GradusError(
                        f"there is no layer {layer}: this encoder has 0 to {len(states) - 1}, 0 the embeddings"
                    )
                part = _pooled(states[layer], lengths[rows], pooling)
                if found is None:
                    shape = (tokens.shape[1], part.shape[-1]) if pooling == "none" else part.shape[1:]
                    found = part.new_zeros(len(texts), *shape)
                if pooling == "none":
                    found[rows, :longest] = part
                else:
                    found[rows] = part
        assert found is not None
        return found

    def _tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        return encoded(texts, self.tokenizer, self.module.frame, self.module.context)

    def _layers(self, tokens: Tensor, lengths: Tensor) -> list[Tensor]:
        there = (torch.arange(tokens.shape[1]) < lengths[:, None])[..., None].to(self.device)
        return [state.float() * there for state in self.module.features(tokens.to(self.device), lengths)]

    def save(self, folder: Path) -> None:
        """Write `product/`: weights, tokenizer and what builds the module."""
        facts = {"model": self.model, "settings": self.settings, "tokenizer": self.tokenizer.fingerprint}
        save_product(folder, "text-encoder", facts, {"model": dict(self.module.state_dict())})
        self.tokenizer.save(folder)

    @classmethod
    def load(cls, folder: Path, facts: State) -> "TextEncoder":
        """Build the module from `product.json` and load weights and tokenizer.

        Raises:
            GradusError: if the tokenizer is not the one that the weights were trained with.
        """
        tokenizer = matching(Tokenizer.load(folder), facts["tokenizer"], folder)
        module = encoder(facts["model"], tokenizer, facts["settings"])
        load_weights(module, folder)
        return cls(module.eval(), tokenizer, facts["model"], facts["settings"])

    @classmethod
    def from_hugging_face(cls, folder: str | Path) -> "TextEncoder":
        """Return the BERT of a folder that transformers wrote.

        Args:
            folder: with config.json, model.safetensors, and tokenizer.json or vocab.txt.

        Raises:
            GradusError: if it holds no BERT, or its vocabulary has another size than the weights.
        """
        module, tokenizer = load_bert(folder, "BertForPreTraining"), read_vocabulary(folder)
        assert isinstance(module, BertPretraining)
        trunk = module.trunk
        if len(tokenizer) != trunk.vocabulary:
            raise GradusError(
                f"the vocabulary of {folder} has {len(tokenizer)} tokens and its weights are for {trunk.vocabulary}: "
                "bring the files of one model"
            )
        block: Any = trunk.blocks[0]
        settings = {
            "layers": len(trunk.blocks), "heads": block.attention.heads, "width": trunk.width,
            "hidden": block.mlp.linear1.out_features, "context": trunk.context, "dropout": trunk.dropout.p,
            "next_sentence": True,
        }  # fmt: skip
        return cls(module, tokenizer, "bert", settings)

    def to_hugging_face(self, folder: str | Path) -> None:
        """Write the encoder as transformers read it: config.json, model.safetensors, vocab.txt, tokenizer.json.

        Args:
            folder: made when missing.

        Raises:
            GradusError: if it is no BERT.
        """
        if not isinstance(self.module, BertPretraining):
            raise GradusError(f"transformers have no {self.model}: write a BERT")
        if self.module.follows is None:
            save_bert(self.module.trunk, folder)
        else:
            save_bert(self.module, folder)
        self.tokenizer.save(folder)
        tokens = "".join(f"{token}\n" for token in self.tokenizer.tokens)
        Path(folder, "vocab.txt").write_text(tokens, encoding="utf-8")
        lower = {"do_lower_case": self.tokenizer.lowercase, "tokenizer_class": "BertTokenizer"}
        Path(folder, "tokenizer_config.json").write_text(json.dumps(lower) + "\n", encoding="utf-8")


def encoder(model: str, tokenizer: Tokenizer, settings: State) -> Any:
    """Return a fresh encoder for a tokenizer's texts.

    Args:
        model: its registered name.
        tokenizer: of the texts.
        settings: of the model, besides what the tokenizer says.
    """
    return registry.find("text-encoder", model)(vocabulary=len(tokenizer), padding=tokenizer.id("[PAD]"), **settings)


def _pooled(features: Tensor, lengths: Tensor, pooling: str) -> Tensor:
    if pooling == "none":
        return features
    if pooling == "cls":
        return features[:, 0]
    place = torch.arange(features.shape[1])
    own = (place > 0) & (place < lengths[:, None] - 1)
    own = torch.where(own.any(1, keepdim=True), own, place < lengths[:, None])  # of an empty text, the frame
    weights = (own / own.sum(1, keepdim=True)).to(features)
    return torch.einsum("bt,btw->bw", weights, features)


def encoded(
    texts: Sequence[str], tokenizer: Tokenizer, frame: tuple[str, str], context: int | None
) -> tuple[Tensor, Tensor]:
    """Return texts as padded ids with special tokens around them, and their lengths.

    Args:
        texts: any number.
        tokenizer: which has the special tokens.
        frame: names of those around a text.
        context: most tokens of a text, those included; longer ones lose their ends, with a warning that counts them.
    """
    begin, end = (tokenizer.id(name) for name in frame)
    rows = tokenizer.encode_batch(list(texts))
    room = None if context is None else context - 2
    long = 0 if room is None else sum(len(row) > room for row in rows)
    if long:
        warnings.warn(f"{long} of {len(rows)} texts are longer than {context} tokens and were cut there", stacklevel=3)
    ragged = Ragged.of([framed(row[:room], None, begin, end)[0] for row in rows])
    tokens, lengths = padded(ragged, torch.arange(len(rows)), tokenizer.id("[PAD]"))
    return tokens.long(), lengths


def matching(tokenizer: Tokenizer, fingerprint: str, folder: Path) -> Tokenizer:
    """Return a tokenizer if it is the one that weights were trained with.

    Raises:
        GradusError: if it is not.
    """
    if tokenizer.fingerprint != fingerprint:
        raise GradusError(
            f"{folder / 'tokenizer.json'} is not the tokenizer that these weights were trained with: "
            "resume the run to write it again"
        )
    return tokenizer


def read_vocabulary(folder: str | Path) -> Tokenizer:
    """Return the tokenizer of a BERT's folder: tokenizer.json, or vocab.txt with one token a line.

    Raises:
        GradusError: if there is neither, or it is damaged.
    """
    place = Path(folder)
    if (place / "tokenizer.json").exists():
        return Tokenizer.load(place)
    try:
        tokens = (place / "vocab.txt").read_text(encoding="utf-8").splitlines()
        config = place / "tokenizer_config.json"
        lower = json.loads(config.read_text(encoding="utf-8")).get("do_lower_case", True) if config.exists() else True
    except FileNotFoundError:
        raise GradusError(
            f"{place} has neither tokenizer.json nor vocab.txt: add the one that the model came with"
        ) from None
    except (OSError, ValueError) as error:
        raise GradusError(f"the vocabulary in {place} cannot be read ({error}): fetch it again") from None
    specials = [name for name in SPECIALS if name in tokens]
    layout = wordpiece_layout(tokens, specials, bool(lower))
    for entry in layout["added_tokens"]:
        entry["id"] = tokens.index(entry["content"])  # there they are not the first
    return Tokenizer(layout)
