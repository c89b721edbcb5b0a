"""What is told of a language model: its loss on held-out text, what it writes, what surprises it, where it looks."""

import math
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from gradus.app.report.attention import attention_maps, looks
from gradus.app.report.held_out import recipe_of
from gradus.app.report.page import Section, tile, value
from gradus.app.report.svg import count, tag, text
from gradus.app.report.told import Subject, Told, lead
from gradus.errors import GradusError

__all__ = ["tell_language"]

TEMPERATURES = (0.5, 0.8, 1.0)
UNITS = {"char": "characters", "word": "words", "bpe": "byte pairs", "wordpiece": "word pieces"}
SAMPLE, PASSAGE, LOOKED = 240, 700, 48  # tokens written; characters read; tokens whose attention is drawn


def tell_language(subject: Subject) -> Told:
    """Measure a language model on its test text, let it write, and show what surprises it."""
    product, facts = subject.product, subject.facts
    parameters = sum(p.numel() for p in product.module.parameters())
    out = Told(lead=lead(facts, parameters or None))
    passage = ""
    try:
        recipe: Any = recipe_of(facts.body, facts.name)
        splits = recipe.splits()
        out.metrics = recipe.evaluate(product, "test")
        passage = _passage(splits.test)
        parts = " / ".join(count(part.characters) for part in (splits.train, splits.val, splits.test))
        out.data = {"Data": splits.name, "Characters (train / val / test)": parts, "Fingerprint": splits.fingerprint}
        _measured(out, product)
    except GradusError as error:
        out.notes.append(f"The data of this run is not there, so only what the run folder holds is shown: {error}.")
    size = len(product.tokenizer)
    out.tiles.append(tile("Vocabulary", value(size, count(size)), text(UNITS[product.tokenizer.kind])))
    out.chapters.append(_samples(product, passage))
    if passage:
        out.chapters.append(_surprise(product, passage))
        out.chapters += [found] if (found := _attention(product, passage)) is not None else []
    return out


def _measured(out: Told, product: Any) -> None:
    """Add the headline facts of the test text."""
    loss, perplexity = out.metrics["test/loss"], out.metrics["test/perplexity"]
    unit = "nats a character" if product.tokenizer.kind == "char" else "nats a token"
    shown = f"{perplexity:.4g}"
    out.tiles.append(tile("Test loss", value(loss, f"{loss:.4f}"), text(unit)))
    out.tiles.append(tile("Perplexity", value(perplexity, shown), text(f"of {count(len(product.tokenizer))} at most")))
    if (bits := out.metrics.get("test/bits_per_character")) is not None:
        out.tiles.append(tile("Bits a character", value(bits, f"{bits:.4f}")))


def _passage(corpus: Any) -> str:
    """Return the beginning of a held-out text, from its first line on that has more than a few words."""
    whole = next(iter(corpus.documents()), "")[: 20 * PASSAGE]
    lines = whole.splitlines(keepends=True)
    start = next((i for i, line in enumerate(lines) if len(line.split()) > 3), 0)
    return "".join(lines[start:])[:PASSAGE]


def _samples(product: Any, passage: str) -> Section:
    """Let the model go on with the beginning of the held-out text, at several temperatures."""
    prompt = passage[:60].rpartition(" ")[0] if " " in passage[:60] else passage[:40]
    cards = []
    for temperature in TEMPERATURES:
        try:
            written = "".join(product.complete(prompt, max_new_tokens=SAMPLE, temperature=temperature, seed=0))
        except GradusError as error:
            return Section("samples", "Samples", tag("p", text(f"Nothing could be written: {error}.")))
        body = tag("p", tag("b", text(prompt)), text(written), class_="passage")
        cards.append(tag("div", tag("h3", text(f"temperature {temperature}")), body, class_="card"))
    said = "The model goes on with the words in grey, which it has never seen; the seed is 0."
    return Section("samples", "Samples", tag("p", text(said)) + tag("div", *cards, class_="cards"))


def _surprise(product: Any, passage: str) -> Section:
    """Show a passage of held-out text, each token as dark as it is improbable after what stands before it."""
    nats = _nats(product, torch.tensor(product.tokenizer.encode(passage), device=product.device))
    spans = product.tokenizer.spans(passage)
    most = math.log(len(product.tokenizer))
    parts, at = [text(passage[: spans[0][1]])], spans[0][1]
    for (begin, end), cost in zip(spans[1:], nats.tolist(), strict=True):
        parts.append(text(passage[at:begin]))
        parts.append(
            tag(
                "span", text(passage[begin:end]), style=f"--v:{min(cost / most, 1):.2f}",
                data_tip=f"{cost:.2f} nats, probability {math.exp(-cost):.3g}",
            )
        )  # fmt: skip
        at = max(at, end)
    said = (
        f"Held-out text, darker where the model is surprised: full colour is {most:.1f} nats, what a guess among all "
        f"tokens costs. On average {nats.mean():.2f} here."
    )
    return Section("surprise", "Surprise", tag("p", text(said)) + tag("p", *parts, class_="passage"))


def _nats(product: Any, tokens: Int64[Tensor, " tokens"]) -> Float[Tensor, " rest"]:
    """Return what each token but the first costs, given at least half a context before it where there is one."""
    context = product.module.context or len(tokens)
    found: list[Tensor] = []
    with torch.inference_mode():
        for start in range(0, max(1, len(tokens) - 1), max(1, context // 2)):
            window = tokens[start : start + context + 1]
            logits, _ = product.module(window[None, :-1])
            costs = -logits[0].float().log_softmax(-1).gather(-1, window[1:, None])[:, 0]
            found.append(costs[sum(map(len, found)) - start :])
    return torch.cat(found)


def _attention(product: Any, passage: str) -> Section | None:
    ids = product.tokenizer.encode(passage)[: min(LOOKED, product.module.context or LOOKED)]
    tokens = torch.tensor(ids, device=product.device)[None]
    shown = passage[: product.tokenizer.spans(passage)[len(ids) - 1][1]]
    return attention_maps(looks(product.module, lambda: product.module(tokens), causal=True), shown)
