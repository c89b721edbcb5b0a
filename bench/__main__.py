"""`python -m bench [NAME …] [--full] [--json]`: run benchmarks, and print what was measured beside its bar."""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gradus.errors import GradusError, nearest

__all__ = ["BENCHES", "Bench", "main", "rows", "table"]


class Bench(NamedTuple):
    """One benchmark.

    Attributes:
        measure: `module:function`, as `gradus prove` takes it.
        what: one line for the table.
        bars: metric to condition; an empty condition is for information.
        source: what the numbers come from, filled in with the numbers.
        short: arguments of the short form.
    """

    measure: str
    what: str
    bars: Mapping[str, str]
    source: str
    short: Mapping[str, Any]


TURNS: dict[str, Any] = {"rounds": 12}
BENCHES: dict[str, Bench] = {
    "overhead": Bench(
        "bench.fit:overhead",
        "fit against a hand-written loop, same work (time)",
        {"ratio": "<= 1.02", "ratio_torch_optim": ""},
        "{gradus_ms:.2f} ms a step; by hand {by_hand_ms:.2f}, with torch.optim {by_hand_torch_optim_ms:.2f}",
        {"rounds": 10},
    ),
    "shipped": Bench(
        "bench.fit:shipped",
        "as shipped against a default DataLoader loop (speed)",
        {"ratio": ">= 1.3"},
        "batching {batching:.2f} × fusion {fusion:.2f} × layout {layout:.2f} × rest {rest:.2f}",
        TURNS,
    ),
    "lightning": Bench(
        "bench.fit:lightning",
        "as shipped against PyTorch Lightning (speed)",
        {"ratio": ">= 1.3"},
        "{saved_ms:.2f} ms saved of {lightning_ms:.2f} on every step",
        TURNS,
    ),
    "keras": Bench(
        "bench.fit:keras_torch",
        "as shipped against Keras on torch (speed)",
        {"ratio": ">= 1.3"},
        "{saved_ms:.2f} ms saved of {keras_ms:.2f} on every step",
        TURNS,
    ),
    "startup": Bench(
        "bench.startup:startup",
        "seconds from typing a command",
        {"help": "<= 0.5", "wrong_flag": "<= 0.5", "list": "<= 1", "first_step_after_import": "<= 2"},
        "import torch {import_torch:.2f} s, first step {first_step:.2f} s",
        {"rounds": 3},
    ),
    "memory": Bench(
        "bench.memory:evaluation",
        "growth while evaluating many images",
        {"growth_mb": "<= 200"},
        "{images:.0f} images: {all_mb:.0f} MB at most, one batch {one_batch_mb:.0f} MB",
        {},
    ),
    "recurrent": Bench(
        "bench.recurrent:layer",
        "two LSTM layers against torch.nn (time)",
        {"ratio": "<= 1.05", "ratio_padded": "<= 0.8"},
        "of one length; and of unlike lengths against packed sequences",
        {"rounds": 6, "time": 50},
    ),
    "bfgs": Bench(
        "bench.minimise:bfgs",
        "BFGS on Rosenbrock-100 against SciPy (time)",
        {"ratio": "<= 1.0"},
        "both given the same torch gradient",
        {"rounds": 5},
    ),
    "cma": Bench(
        "bench.evolution:generations",
        "CMA-ES against pycma (time of a generation)",
        {"ratio_10": "<= 0.3", "ratio_40": "<= 0.3"},
        "in 10 and 40 dimensions, the same population",
        {"rounds": 10},
    ),
    "hmc": Bench(
        "bench.mcmc:hmc",
        "HMC of 1000 chains against a loop over chains (time of a transition of one)",
        {"ratio": "<= 0.2", "ratio_by_hand": "<= 0.2"},
        "",
        {"rounds": 4},
    ),
    "ode": Bench(
        "bench.ode:forward",
        "odeint by Dopri5 against torchdiffeq (time)",
        {"ratio": "<= 0.8"},
        "the same evaluations on both sides",
        {"rounds": 10},
    ),
    "adjoint": Bench(
        "bench.ode:adjoint",
        "a solve and its adjoint against torchdiffeq (time)",
        {"ratio": "<= 0.8"},
        "the same evaluations on both sides",
        {"rounds": 10},
    ),
    "lasso": Bench(
        "bench.lasso:path",
        "the lasso path against scikit-learn (time, the slowest of four shapes)",
        {"ratio": "<= 2"},
        "",
        {"rounds": 10},
    ),
    "optimisers": Bench(
        "bench.optimisers:optimisers",
        "torch.optim over our rules, updates only (speed)",
        {f"{rule}_{kind}": "" for rule in ("sgd", "adam", "adamw") for kind in ("fused", "foreach")},
        "ours: sgd {sgd_ours_ms:.3f}, adam {adam_ours_ms:.3f}, adamw {adamw_ours_ms:.3f} ms",
        TURNS,
    ),
}


def met(value: float, bar: str) -> bool | None:
    """Say whether a value meets a condition such as `<= 1.02`; None where there is none."""
    if not bar:
        return None
    sign, number = bar.split()
    return value <= float(number) if sign == "<=" else value >= float(number)


def rows(bench: Bench, values: Mapping[str, float]) -> list[list[str]]:
    """Return the table's lines of one benchmark: metric, value, quartiles, bar, verdict, source."""
    lines = []
    for i, (name, bar) in enumerate(bench.bars.items()):
        low, high = (values.get(f"{name}_{end}") for end in ("low", "high"))
        spread = "" if low is None or high is None else f"{low:.3f} – {high:.3f}"
        verdict = {True: "met", False: "MISSED", None: ""}[met(values[name], bar)]
        source = bench.source.format(**values) if i == 0 else ""
        lines.append([bench.what if i == 0 else "", name, f"{values[name]:.3f}", spread, bar, verdict, source])
    return lines


def table(lines: Sequence[Sequence[str]]) -> str:
    """Return lines with their columns aligned."""
    titles = ("benchmark", "metric", "median", "quartiles", "bar", "verdict", "from")
    every = [titles, *lines]
    widths = [max(len(line[i]) for line in every) for i in range(len(titles))]
    drawn = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in every]
    return "\n".join([drawn[0], "-" * len(drawn[0]), *drawn[1:]])


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked for; return 1 when a bar is missed, 2 when it is not known.

    Args:
        argv: the words after `python -m bench`; those of the process when left out.
    """
    parser = argparse.ArgumentParser(prog="python -m bench", description="Ours beside the peers, taking turns.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(BENCHES)}; all when left out")
    parser.add_argument("--full", action="store_true", help="the long form, as the evidence has it")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    asked = parser.parse_args(argv)
    found: dict[str, dict[str, Any]] = {}
    lines: list[list[str]] = []
    missing = False
    for name in asked.names or BENCHES:
        try:
            if name not in BENCHES:
                raise GradusError(f"there is no benchmark {name!r}{nearest(name, BENCHES)}")
            values = measured(BENCHES[name], asked.full)
        except GradusError as error:
            print(f"bench: {error}", file=sys.stderr)
            missing = True
            continue
        verdicts = {key: met(values[key], bar) for key, bar in BENCHES[name].bars.items()}
        found[name] = {"values": values, "bars": dict(BENCHES[name].bars), "met": verdicts}
        lines += rows(BENCHES[name], values)
    print(json.dumps(found) if asked.json else table(lines))
    if missing:
        return 2
    return int(any(verdict is False for one in found.values() for verdict in one["met"].values()))


def measured(bench: Bench, full: bool) -> dict[str, float]:
    """Run one benchmark, saying so on standard error."""
    module, _, function = bench.measure.partition(":")
    print(f"{bench.measure} …", end="", file=sys.stderr, flush=True)
    started = time.perf_counter()
    values = getattr(importlib.import_module(module), function)(**({} if full else bench.short))
    print(f" {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return values


if __name__ == "__main__":
    sys.exit(main())
