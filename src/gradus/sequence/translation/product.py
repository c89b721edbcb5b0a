"""A translator ready to be used: texts in, texts out.

product/  model.safetensors   product.json   source/tokenizer.json   target/tokenizer.json (unless both are one)

A translation has at most 10 + 2 ⌈ρ n⌉ tokens for n tokens of the source, ρ being how many target tokens there were for
each source token in training. [PAD], [UNK] and [BOS] are never written.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from gradus.canon import canon
from gradus.data.pair_sets import Pairs
from gradus.data.ragged import Ragged, in_batches, padded
from gradus.data.tokenizer import SPECIALS, Tokenizer
from gradus.engine.product import load_weights, save_product
from gradus.engine.state import State
from gradus.errors import GradusError
from gradus.metrics.bleu import BLEU, tokenise
from gradus.sequence.translation.alignment import BLANK, FINISH, Alignment, Translation
from gradus.sequence.translation.beam_search import Hypothesis, Normalisation, beam_search
from gradus.sequence.translation.models import EncoderDecoder, make, stepper
from gradus.sequence.translation.objectives import token_losses

__all__ = ["Translator", "encoded", "nats_of", "worth"]

AT_ONCE = 64
PAD, UNK, BOS, EOS = SPECIALS[:4]


@canon("sequence/translator", kind="product", names=("translator",))
class Translator:
    """A translator of texts.

    Args:
        module: from source tokens to target tokens.
        source: the tokenizer of sources.
        target: that of targets; may be the same.
        facts: further constructor arguments: the model's name and settings, ρ, the default width and penalty.
    """

    kind, name = "a translator", "translator"

    def __init__(self, module: EncoderDecoder, source: Tokenizer, target: Tokenizer, facts: State) -> None:
        self.module, self.source, self.target, self.facts = module, source, target, facts
        self.padding, self.end, self.begin = target.id(PAD), target.id(EOS), target.id(BOS)

    def __repr__(self) -> str:
        return f"Translator({self.facts['model']}, {len(self.source):,} → {len(self.target):,} tokens)"

    @property
    def device(self) -> torch.device:
        """Where the product computes."""
        return next(self.module.parameters()).device

    def translate(self, texts: Sequence[str], **settings: Any) -> list[str]:
        """Return the best translation of each text.

        Args:
            texts: any number.
            settings: as `translations` takes them.
        """
        return [found[0].text if found else "" for found in self.translations(texts, **settings)]

    def translations(
        self,
        texts: Sequence[str],
        *,
        beam: int | None = None,
        length_penalty: float | None = None,
        normalisation: Normalisation = "gnmt",
        best: int = 1,
        alignments: bool = False,
    ) -> list[list[Translation]]:
        """Return the best translations of each text, best first.

        Args:
            texts: any number; an empty one has the empty translation.
            beam: width of the search; 1 is greedy; the run's own when left out.
            length_penalty: α of the search; the run's own when left out.
            normalisation: gnmt or plain.
            best: how many of each text are wanted, at most the width.
            alignments: whether to say where the decoder looked.

        Raises:
            GradusError: if the numbers cannot be meant, or a text is no text.
        """
        if isinstance(texts, str):
            raise GradusError("a translator takes a list of texts, not one text: put it into a list")
        beam = self.facts["beam"] if beam is None else beam
        alpha = self.facts["length_penalty"] if length_penalty is None else length_penalty
        found: list[list[Translation]] = [[] for _ in texts]
        held = [i for i, text in enumerate(texts) if text.strip()]
        rows = encoded(self.source, [texts[i].strip() for i in held], ends=True)
        by_length = sorted(range(len(held)), key=lambda i: int(rows.lengths[i]))
        with torch.inference_mode():
            for start in range(0, len(held), AT_ONCE):
                some = torch.tensor(by_length[start : start + AT_ONCE])
                batch = padded(rows, some, self.source.id(PAD))
                results = self._search(*batch, beam, best, alpha, normalisation)
                pieces = [self._pieces(texts[held[i]].strip()) for i in some.tolist()] if alignments else None
                told = self._told(*batch, results, pieces)
                for i, one in zip(some.tolist(), told, strict=True):
                    found[held[i]] = one
        return [some or [Translation("", 0.0, 0.0, True)] for some in found]

    def _search(
        self, source: Tensor, lengths: Tensor, beam: int, best: int, alpha: float, normalisation: Normalisation
    ) -> list[list[Hypothesis]]:
        limits = 10 + 2 * (self.facts["ratio"] * lengths).ceil().long()
        memory = self.module.encode(source.to(self.device), lengths)
        never = torch.tensor([self.target.id(name) for name in (PAD, UNK, BOS)], device=self.device)
        return beam_search(
            stepper(self.module, never), self.module.start(memory, int(limits.max())),
            torch.full((len(lengths),), self.begin, device=self.device), end=self.end, longest=limits.to(self.device),
            width=beam, best=best, length_penalty=alpha, normalisation=normalisation,
        )  # fmt: skip

    def _told(
        self, source: Tensor, lengths: Tensor, results: list[list[Hypothesis]], pieces: list[list[str]] | None
    ) -> list[list[Translation]]:
        """Return hypotheses as translations, with alignments where the pieces of the sources are given."""
        flat = [(i, one) for i, some in enumerate(results) for one in some]
        looks = self._looks(source, lengths, flat, pieces) if pieces is not None and flat else [None] * len(flat)
        told: list[list[Translation]] = [[] for _ in results]
        for (i, one), look in zip(flat, looks, strict=True):
            told[i].append(Translation(self.target.decode(one.tokens), one.score, one.log_prob, one.ended, look))
        return told

    def _looks(
        self, source: Tensor, lengths: Tensor, flat: list[tuple[int, Hypothesis]], pieces: list[list[str]]
    ) -> list[Alignment] | list[None]:
        """Return where the decoder looks when it is made to write these hypotheses."""
        rows = torch.tensor([i for i, _ in flat])
        written = [[self.begin, *one.tokens] for _, one in flat]
        tokens, counts = padded(Ragged.of(written), torch.arange(len(written)), self.padding)
        memory = self.module.encode(source[rows].to(self.device), lengths[rows])
        weights = self.module.attention(memory, tokens.to(self.device))
        if weights is None:
            return [None] * len(flat)
        found = []
        for (i, one), count, each in zip(flat, counts.tolist(), weights.float().cpu(), strict=True):
            steps = count - (not one.ended)
            target = [*(_shown(self.target.decode([token])) for token in one.tokens), FINISH][:steps]
            found.append(Alignment(pieces[i], target, each[:steps, : len(pieces[i])]))
        return found

    def _pieces(self, text: str) -> list[str]:
        """Return the tokens of a source as they stand in the text, and its end."""
        return [*(_shown(text[a:b]) for a, b in self.source.spans(text)), FINISH]

    def measure(self, pairs: Pairs, split: str) -> dict[str, float]:
        """Return nats per token, perplexity, and what `written` returns.

        Args:
            pairs: sources with their references.
            split: name of the part, put before the names.
        """
        nats = nats_of(self.module, self.columns(pairs), self.padding)
        return {f"{split}/loss": nats, f"{split}/perplexity": math.exp(min(nats, 700.0)), **self.written(pairs, split)}

    def written(self, pairs: Pairs, split: str, **settings: Any) -> dict[str, float]:
        """Return the share of exact translations, and BLEU where references are long enough for it.

        Args:
            pairs: sources with their references.
            split: name of the part, put before the names.
            settings: of the search.
        """
        return worth(self.translate(pairs.sources, **settings), pairs.targets, split)

    def columns(self, pairs: Pairs) -> dict[str, Ragged]:
        """Return the tokens of pairs: sources with their end, targets from [BOS] to [EOS]."""
        return {
            "source": encoded(self.source, pairs.sources, ends=True),
            "target": encoded(self.target, pairs.targets, ends=True, begins=True),
        }

    def save(self, folder: Path) -> None:
        """Write `product/`: weights, facts and tokenizers."""
        both = {"source": self.source, **({} if self.source == self.target else {"target": self.target})}
        prints = {name: tokenizer.fingerprint for name, tokenizer in both.items()}
        save_product(folder, self.name, {**self.facts, "tokenizers": prints}, {"model": dict(self.module.state_dict())})
        for name, tokenizer in both.items():
            (folder / name).mkdir(exist_ok=True)
            tokenizer.save(folder / name)

    @classmethod
    def load(cls, folder: Path, facts: State) -> "Translator":
        """Build the model from `product.json` and load its weights and tokenizers.

        Raises:
            GradusError: if a tokenizer is not the one that the weights were trained with.
        """
        found = {}
        for name, fingerprint in facts["tokenizers"].items():
            found[name] = Tokenizer.load(folder / name)
            if found[name].fingerprint != fingerprint:
                raise GradusError(
                    f"{folder / name / 'tokenizer.json'} is not the tokenizer that the weights were trained with: put "
                    "the right one back, or resume the run to write it again"
                )
        module = make(facts["model"], **facts["settings"])
        load_weights(module, folder)
        kept = {key: facts[key] for key in ("model", "settings", "ratio", "beam", "length_penalty")}
        return cls(module.eval(), found["source"], found.get("target", found["source"]), kept)


def _shown(piece: str) -> str:
    """Return a piece of text as it may stand beside a picture."""
    return piece.strip() or BLANK


def worth(found: Sequence[str], references: Sequence[str], split: str) -> dict[str, float]:
    """Return the share of translations that are as the reference, blanks at the ends aside, and BLEU.

    Corpus BLEU is zero, whatever was translated, where no reference has four words; it is left out there.

    Args:
        found: translations.
        references: one for each.
        split: name of the part, put before the names.
    """
    bleu, truth = BLEU(), [reference.strip() for reference in references]
    exact = sum(one.strip() == other for one, other in zip(found, truth, strict=True)) / max(1, len(truth))
    if not any(len(tokenise(reference)) >= bleu.settings["order"] for reference in truth):
        return {f"{split}/exact": exact}
    bleu.update(found, [[reference] for reference in truth])
    return {f"{split}/bleu": float(bleu.compute().score), f"{split}/exact": exact}


def encoded(tokenizer: Tokenizer, texts: Sequence[str], *, begins: bool = False, ends: bool = False) -> Ragged:
    """Return the tokens of texts, with [BOS] in front and [EOS] behind where asked for.

    Args:
        tokenizer: which.
        texts: any number.
        begins: whether to put [BOS] in front.
        ends: whether to put [EOS] behind.
    """
    before = [tokenizer.id(BOS)] if begins else []
    after = [tokenizer.id(EOS)] if ends else []
    return Ragged.of([[*before, *ids, *after] for ids in tokenizer.encode_batch(list(texts))])


def nats_of(network: EncoderDecoder, columns: dict[str, Ragged], padding: int) -> float:
    """Return the mean nats of a target token, its end included, under teacher forcing.

    Args:
        network: in evaluation mode.
        columns: `source` and `target`.
        padding: the id of [PAD].
    """
    device = next(network.parameters()).device
    total, tokens = 0.0, 0
    order = columns["source"].lengths.argsort(stable=True)
    rows = {name: column.take(order) for name, column in columns.items()}
    with torch.inference_mode():
        for batch in in_batches(rows, batch_size=AT_ONCE, pad=padding):
            target: Int[Tensor, "batch target"] = batch["target"].to(device)
            count = int((target[:, 1:] != padding).sum())
            logits = network(batch["source"].to(device), batch["source_lengths"], target[:, :-1])
            total += float(token_losses(logits, target[:, 1:], padding)[0]) * count
            tokens += count
    return total / max(1, tokens)
