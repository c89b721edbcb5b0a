"""What a GPT costs: training beside hand-written loops, generation beside transformers, GPUs beside their peak.

`training`: tokens trained a second, ours (the recipe `sequence/language-model`, run by the engine) against a loop
written by hand after nanoGPT's description, and against transformers' `GPT2LMHeadModel`.
`generation`: tokens generated a second with a cache of keys and values, against transformers' `generate`.
`flops_share`: GPT-2's 124 million weights, bf16 and compiled: the share of a GPU's measured peak.

The sizes are nanoGPT's for a CPU: 4 layers, 4 heads, width 128, context 64, batch 12. Sides take turns in one process.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.frameworks import _package as package
from bench.gpt_by_hand import ByHand, by_hand, gathered, stacked, transformers_loop
from bench.gradus_side import _Pause as Pause
from bench.loops import advancing
from bench.turns import Advance, Turns, interleave, milliseconds, paired
from gradus.data.corpora import load_corpus
from gradus.data.corpus_sources import encode_corpus
from gradus.data.tokenizer import train_tokenizer
from gradus.engine.descent import Descend
from gradus.engine.loop import History, fit
from gradus.engine.recipe import Build
from gradus.engine.run import Run
from gradus.engine.updater import Updater
from gradus.optim.adam import adamw
from gradus.sequence.language.decoding import Decoding
from gradus.sequence.language.generation import generate
from gradus.sequence.language.gpt import gpt
from gradus.sequence.language.gpt2_weights import from_hugging_face
from gradus.sequence.language.objectives import NextToken
from gradus.sequence.language.recipes import LanguageModel

__all__ = ["flops_share", "generation", "training"]

LR, TOLERANCE = 1e-3, 1e-4
Sizes = tuple[int, int, int, int, int]
LETTERS = [chr(i) for i in range(48, 48 + 65)]


class Ours:
    """A training as shipped: the recipe builds the parts, the engine runs them.

    Args:
        text: path of the text.
        folder: where the run folder is made; None runs without one.
        options: of the recipe.
    """

    def __init__(self, text: Path, folder: Path | None = None, **options: Any) -> None:
        self.recipe = LanguageModel(data=str(text), device="cpu", model="gpt", lr=LR, **options)
        place: dict[str, Any] = {
            "seed": self.recipe.seed, "device": "cpu", "log_every": self.recipe.log_every,
            "precision": self.recipe.precision,
        }  # fmt: skip
        self.run = Run.ephemeral(**place) if folder is None else Run.create(folder, **place)
        self.build: Build = self.recipe.build(self.run)
        self.network: Any = self.build.learner.network  # type: ignore[attr-defined]
        self._pause = Pause()

    def advance(self, steps: int) -> None:
        """Make a number of steps, as another loop's turn; of a run without a folder."""
        self._pause.left = steps
        self._fit([*self.build.watchers, self._pause])

    def drive(self, tick: Callable[..., None] | None = None) -> History:
        """Train to the end, calling `tick` after every step before any other watcher."""
        return self._fit([*([tick] if tick else []), *self.build.watchers])

    def _fit(self, watchers: list[Any]) -> History:
        build = self.build
        return fit(build.learner, build.source, run=self.run, steps=build.steps, watchers=watchers)


def training(
    rounds: int = 30,
    chunk: int = 10,
    characters: int = 500_000,
    batch_size: int = 12,
    context: int = 64,
    layers: int = 4,
    heads: int = 4,
    width: int = 128,
    agree: int = 8,
    seed: int = 0,
) -> dict[str, float]:
    """Ours against nanoGPT's loop and transformers' model: ratios of time a step, which is of tokens a second.

    `ratio` is eager against eager in float32, the same network, batch, AdamW and clipping. `ratio_shipped` is ours with
    `--precision bf16` against nanoGPT's loop, which on a CPU computes in float32 whatever is asked for; `batching`
    (gathered by index, not stacked from a file), `fusion` (torch's fused AdamW), `rest` (our network and engine beside
    that) and `bf16` say what it is made of. `ratio_transformers` is against a plain loop around transformers' model,
    both sides in bf16; there GELU is the tanh, and linear layers and normalisations have biases.
    `ratio_transformers_float32` is the same in float32, and `ratio_transformers_same` with all that in ours too.

    Args:
        rounds: how many are kept.
        chunk: steps of a turn.
        characters: of the text.
        batch_size: windows a step.
        context: tokens of a window.
        layers: blocks.
        heads: of the attention.
        width: features of a token.
        agree: steps of the untimed comparison of losses.
        seed: of text and weights.
    """
    total = chunk * (rounds + 2) + 1
    options: dict[str, Any] = {"batch_size": batch_size, "context": context, "seed": seed}
    options["set"] = (f"layers={layers}", f"heads={heads}", f"width={width}")
    gpt2 = (*options["set"], "bias=true", "approximate=true")
    shipped = {"max_steps": total, "evaluate_every": total, "checkpoint_every": total, **options}
    with tempfile.TemporaryDirectory() as place:
        text, tokens = _text(Path(place), characters, seed)
        difference, loss = _agreement(text, agree, heads, options)
        ours = Ours(text, Path(place, "run"), **shipped)
        half = Ours(text, precision="bf16", **shipped)
        same = Ours(text, **{**shipped, "set": gpt2})
        sizes = (ours.network.vocabulary, context, layers, heads, width)
        theirs = _theirs(tokens, batch_size, sizes, _state(ours.network), total)
        turns = Turns("gradus", {**theirs, "bf16": half.advance, "same": same.advance}, chunk=chunk, rounds=rounds)
        ours.drive(turns.tick)
    times = turns.times
    ladder = ("nanogpt", "batched", "fused", "gradus", "bf16")
    steps = zip(("batching", "fusion", "rest", "bf16"), ladder, ladder[1:], strict=False)
    return {
        **paired(times, "nanogpt", "gradus"), **paired(times, "nanogpt", "bf16", "ratio_shipped"),
        **paired(times, "transformers_bf16", "bf16", "ratio_transformers"),
        **paired(times, "transformers", "gradus", "ratio_transformers_float32"),
        **paired(times, "transformers", "same", "ratio_transformers_same"),
        **{name: paired(times, slow, fast)["ratio"] for name, slow, fast in steps}, **milliseconds(times),
        "tokens_per_second": batch_size * context / (1e-3 * milliseconds(times)["gradus_ms"]),
        "difference": difference, "loss": loss,
    }  # fmt: skip


def _theirs(tokens: Path, batch_size: int, sizes: Sizes, weights: list[Tensor], total: int) -> dict[str, Advance]:
    """Return the loops of others, by name: written by hand from our weights, and around transformers' model."""
    transformers, context = _transformers(), sizes[1]

    def nano(batches: Any, fused: bool | None = None) -> Advance:
        network = ByHand(weights, sizes)
        drawn = batches(tokens, batch_size, context)
        return advancing(by_hand(network, list(network.parameters()), drawn, lr=LR, total=total, fused=fused))

    def peer(half: bool) -> Advance:
        network = transformers.GPT2LMHeadModel(_configuration(transformers, *sizes))
        drawn = stacked(tokens, batch_size, context)
        return advancing(transformers_loop(network, drawn, lr=LR, total=total, half=half))

    return {
        "nanogpt": nano(stacked), "batched": nano(gathered), "fused": nano(gathered, True),
        "transformers": peer(False), "transformers_bf16": peer(True),
    }  # fmt: skip


def _text(place: Path, characters: int, seed: int) -> tuple[Path, Path]:
    """Write a text of 65 letters, and the tokens of its training part as others keep them; return both paths."""
    drawn = np.random.default_rng(seed).integers(0, len(LETTERS), characters)
    text, tokens = place / "text.txt", place / "train.bin"
    text.write_text("".join(np.array(LETTERS)[drawn]))
    splits = load_corpus(str(text))
    tokenizer = train_tokenizer("char", splits.train.documents(), specials=("[UNK]", "[EOS]"))
    encode_corpus(splits.train, tokenizer).astype(np.uint16).tofile(tokens)
    return text, tokens


def _state(network: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in network.parameters()]


def _agreement(text: Path, steps: int, heads: int, options: dict[str, Any]) -> tuple[float, float]:
    """Return the largest difference of losses, ours and the hand-written loop's on the same batches, and our last."""
    ours = Ours(text, max_steps=steps, schedule="constant", **{**options, "log_every": 1})
    model = ours.network
    sizes = (model.vocabulary, model.context, len(model.blocks), heads, model.embedding.embedding_dim)
    network = ByHand(_state(model), sizes)
    again = Ours(text, max_steps=steps, **options).build.source
    theirs: list[float] = []
    loop = by_hand(network, list(network.parameters()), iter(again), lr=LR, total=steps, constant=True)  # type: ignore[arg-type]
    advancing(loop, theirs)(steps)
    losses = [value for _, value in ours.drive().metrics["train/loss"]]
    difference = max(abs(a - b) for a, b in zip(losses, theirs, strict=True))
    assert difference < TOLERANCE, f"the sides do different work: their losses differ by {difference}"
    return difference, losses[-1]


def generation(
    rounds: int = 15,
    new_tokens: int = 56,
    prompt: int = 8,
    batches: tuple[int, ...] | list[int] = (1, 8),
    vocabulary: int = 65,
    context: int = 64,
    layers: int = 4,
    heads: int = 4,
    width: int = 128,
    seed: int = 0,
) -> dict[str, float]:
    """Greedy generation with a cache, ours against transformers' `generate(use_cache=True)`, from the same weights.

    Both give the same tokens. `ratio_1` and `ratio_8` are ratios of time for one and for eight prompts, `ratio` the
    smaller of them.

    Args:
        rounds: how many are kept.
        new_tokens: tokens a prompt gets.
        prompt: tokens of a prompt.
        batches: numbers of prompts that are gone on with together.
        vocabulary: tokens there are.
        context: the longest sequence; prompt and new tokens fit in.
        layers: blocks.
        heads: of the attention.
        width: features of a token.
        seed: of weights and prompts.
    """
    torch.manual_seed(seed)
    ours, theirs = _twins((vocabulary, context, layers, heads, width))
    found: dict[str, float] = {}
    for count in batches:
        prompts = torch.randint(vocabulary, (count, prompt))

        def mine(prompts: Tensor = prompts) -> Tensor:
            greedy = Decoding(temperature=0.0)
            return torch.stack(list(generate(ours, prompts.tolist(), max_new_tokens=new_tokens, decoding=greedy)), 1)

        def peer(prompts: Tensor = prompts) -> Tensor:
            said = theirs.generate(
                prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=new_tokens, do_sample=False,
                use_cache=True, eos_token_id=None, pad_token_id=0,
            )  # fmt: skip
            return said[:, prompt:]

        assert torch.equal(mine(), peer()), "the sides generate different tokens"
        times = interleave({"gradus": _repeated(mine), "transformers": _repeated(peer)}, chunk=1, rounds=rounds)
        found |= paired(times, "transformers", "gradus", f"ratio_{count}")
        found[f"tokens_per_second_{count}"] = count * new_tokens / (1e-3 * milliseconds(times)["gradus_ms"])
    return {"ratio": min(found[f"ratio_{count}"] for count in batches), **found}


def _twins(sizes: Sizes) -> tuple[nn.Module, Any]:
    """Return our model and transformers' with the same random weights, such that greedy texts do not repeat a token."""
    transformers = _transformers()
    theirs = transformers.GPT2LMHeadModel(_configuration(transformers, *sizes)).eval()
    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(torch.randn_like(p) * 0.05)
    names = ("vocabulary", "context", "layers", "heads", "width")
    ours = gpt(**dict(zip(names, sizes, strict=True)), bias=True, approximate=True).eval()
    ours.load_state_dict(from_hugging_face(theirs.state_dict()))
    return ours, theirs


def _repeated(run: Callable[[], Tensor]) -> Advance:
    def advance(steps: int) -> None:
        for _ in range(steps):
            run()

    return advance


def flops_share(
    steps: int = 30,
    warmup: int = 10,
    batch_size: int = 32,
    context: int = 1024,
    layers: int = 12,
    heads: int = 12,
    width: int = 768,
    vocabulary: int = 50_304,
    side: int = 8192,
    compile: bool = True,
    seed: int = 0,
) -> dict[str, float]:
    """Training of GPT-2's 124 million weights as the recipe does it, bf16 and compiled, on the machine's GPU.

        share = tokens/s · (6 N + 12 L d T) / peak

    with N weights (those of positions left out), L layers of width d and T tokens of context; the peak is that of one
    product of two bf16 matrices, measured here. The vocabulary is the published one rounded up to a multiple of 64.

    Args:
        steps: that are timed.
        warmup: steps before, compilation included; their time is reported.
        batch_size: windows a step.
        context: T.
        layers: L.
        heads: of the attention.
        width: d.
        vocabulary: tokens there are.
        side: of the square matrices.
        compile: the network with torch.compile.
        seed: of weights and tokens.
    """
    run = Run.ephemeral(seed=seed, device="auto", precision="bf16", compile=compile)
    with run.stream("init"):
        network = gpt(vocabulary=vocabulary, context=context, layers=layers, heads=heads, width=width, bias=True)
    network = run.prepare(network)
    learner = Descend(network, Updater(network, adamw(lr=6e-4), clip=1.0), NextToken())
    rows = torch.randint(vocabulary, (batch_size, context + 1), device=run.device)
    batch = (rows[:, :-1].contiguous(), rows[:, 1:].contiguous())

    def advance(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            with run.autocast():
                loss = learner.step(batch)["loss"]
        float(loss)  # waits for the device
        return time.perf_counter() - started

    compiling = advance(warmup)
    seconds = advance(steps) / steps
    peak = _peak(side, run.device)
    learned = sum(p.numel() for p in network.parameters()) - context * width
    work = 6 * learned + 12 * layers * width * context
    speed = batch_size * context / seconds
    return {
        "share": speed * work / peak, "tokens_per_second": speed, "step_ms": 1e3 * seconds, "peak_tflops": peak / 1e12,
        "weights": float(learned), "first_steps_s": compiling,
    }  # fmt: skip


def _peak(side: int, device: torch.device, times: int = 20) -> float:
    """Return the floating-point operations a second of a product of two square bf16 matrices, the best of some."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(times):
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


def _configuration(transformers: Any, vocabulary: int, context: int, layers: int, heads: int, width: int) -> Any:
    """Return the sizes as transformers take them, nothing dropped out."""
    return transformers.GPT2Config(
        vocab_size=vocabulary, n_positions=context, n_embd=width, n_layer=layers, n_head=heads, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip


def _transformers() -> Any:
    """Return transformers, without its progress bars."""
    found = package("transformers")
    found.utils.logging.set_verbosity_error()
    return found
