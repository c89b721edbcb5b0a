"""How much memory an evaluation of many images takes beyond one of a single batch.

    growth = max RSS while evaluating all images − max RSS while evaluating one batch

Both are measured in one new process, one after the other, with the images in memory for both: as much as the second
is above the first, as much was kept that should have been let go.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["evaluation"]

PERIOD = 0.001


def evaluation(images: int = 60_000, model: str = "lenet", channels: int = 1) -> dict[str, float]:
    """Evaluate as `gradus evaluate` does; MB are 10⁶ bytes.

    Args:
        images: how many are evaluated, of 28×28 pixels.
        model: name of the architecture.
        channels: of the images.
    """
    code = f"from bench.memory import measure; measure({images}, {model!r}, {channels})"
    here = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def measure(images: int, model: str, channels: int) -> None:
    """Print the growth in this process as JSON."""
    import torch

    from bench.gradus_side import mnist_shaped, recipe_for
    from gradus.data.images import ImageSet, ImageSplits
    from gradus.vision.classify import Classifier, describe, fresh

    splits = mnist_shaped(600, test=images)
    test = splits.test
    if channels > 1:
        pixels = test.read(torch.arange(len(test))).permute(0, 3, 1, 2).expand(-1, channels, -1, -1)
        test = ImageSet.of_tensor(pixels, test.labels, test.classes)
        splits = ImageSplits(test.take(range(256)), test, test, splits.name, splits.classes, splits.fingerprint)
    facts = describe(model, splits, {})
    product = Classifier(fresh(facts, len(splits.classes)).eval(), splits.classes, facts)

    def run(part: ImageSet) -> dict[str, float]:
        cut = ImageSplits(splits.train, splits.val, part, splits.name, splits.classes, splits.fingerprint)
        return recipe_for(cut, model=model).evaluate(product, "test")

    _, one = peak(lambda: run(test.take(range(min(256, images)))))
    found, all_of_them = peak(lambda: run(test))
    growth = {"growth_mb": (all_of_them - one) / 1e6, "one_batch_mb": one / 1e6, "all_mb": all_of_them / 1e6}
    print(json.dumps({**growth, "images": float(len(test)), "accuracy": found["test/accuracy"]}))


def peak(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what some work gives, and the largest resident set size seen meanwhile, in bytes."""
    import psutil

    process, done = psutil.Process(), threading.Event()
    largest = [process.memory_info().rss]

    def watch() -> None:
        while not done.wait(PERIOD):
            largest[0] = max(largest[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        found = work()
    finally:
        done.set()
        watcher.join()
    return found, float(max(largest[0], process.memory_info().rss))
