"""`make demo`: train a classifier of handwritten digits, measure it, explain it, attack it, and write a report."""

import sys
import time

from gradus.app.cli import main

__all__ = ["run"]

TRAIN = (
    "vision/classify --data digits --max-epochs 60 --lr 0.003 --schedule one_cycle "
    "--augment translate=0.1,rotate=10 --ema 0.995 --monitor val/loss"
)
STEPS = (
    ("train a convolutional network on 1,259 handwritten digits", f"train {TRAIN} --name {{name}}"),
    ("measure it on digits it has never seen", "evaluate {name}"),
    ("show which pixels its predictions rest on", "explain {name}"),
    ("let an adversary try to fool it", "attack {name} --eps 0.1"),
    ("put everything on one page", "report {name}"),
)


def run() -> int:
    """Run the steps one after the other, as a user would type them; return the first exit code that is not 0."""
    from gradus.engine.folder import free_name

    started, name = time.perf_counter(), free_name("demo")
    for what, words in STEPS:
        words = words.format(name=name)
        print(f"\n# {what}\n$ gradus {words}", flush=True)
        code = main(words.split())
        if code:
            return code
    print(f"\ndone in {time.perf_counter() - started:.0f} s: open runs/{name}/report.html in a browser")
    return 0


if __name__ == "__main__":
    sys.exit(run())
