"""`gradus doctor`: is this installation sound? Versions, devices, extras, and every verb on a tiny run."""

import importlib.util
import io
import os
import platform
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from gradus import __version__
from gradus.app.verb import Answer, Verb

__all__ = ["Doctor"]

EXTRAS = {
    "pretrained": ("torchvision", "transformers"), "games": ("pyspiel",), "atari": ("ale_py",), "mujoco": ("mujoco",),
    "box2d": ("Box2D",), "studio": ("gradio",), "serve": ("fastapi", "uvicorn"),
    "track": ("tensorboard", "wandb", "mlflow"), "tune": ("optuna",), "export": ("onnx", "onnxruntime"),
}  # fmt: skip
CORE = ("torch", "numpy", "scikit-learn", "gymnasium", "pillow", "tyro", "rich", "matplotlib", "safetensors",
        "tokenizers", "jaxtyping")  # fmt: skip
CHECKS = (
    ("train", "train vision/classify --max-steps 20 --name tiny --runs-dir {home} --quiet"),
    ("resume", "resume tiny --runs-dir {home} --quiet"),
    ("evaluate", "evaluate tiny --runs-dir {home}"),
    ("predict", "predict tiny {images} --runs-dir {home}"),
    ("explain", "explain tiny {images} --runs-dir {home}"),
    ("attack", "attack tiny --count 16 --runs-dir {home}"),
    ("report", "report tiny --runs-dir {home}"),
    ("compare", "compare tiny tiny --runs-dir {home}"),
    ("export", "export tiny --runs-dir {home}"),
    ("train text", "train sequence/language-model --data {text} --model ngram --name words --runs-dir {home} --quiet"),
    ("complete", "complete words the --max-new-tokens 8 --runs-dir {home}"),
    ("train vectors", "train sequence/embed --data {text} --max-epochs 1 --name near --runs-dir {home} --quiet"),
    ("embed", "embed near cat --runs-dir {home}"),
    ("train pairs", "train sequence/translate --fast-dev-run --name dates --runs-dir {home} --quiet"),
    ("translate", "translate dates 3.4.2021 --runs-dir {home}"),
    ("list", "list --runs-dir {home}"),
    ("show", "show tiny --runs-dir {home}"),
    ("inspect", "inspect digits"),
)


@dataclass(kw_only=True)
class Doctor(Verb):
    """Exercise every verb on a tiny run, and say what is installed."""

    def __call__(self) -> Answer:
        """Run the checks in a temporary folder; exit code 1 if one fails."""
        import torch

        from gradus.sequence.programs.sandbox import strength

        versions = {"gradus": __version__, "python": platform.python_version(), **_versions()}
        devices = {"cpu": f"{os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"}
        if torch.cuda.is_available():
            devices |= {f"cuda:{i}": torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        if torch.backends.mps.is_available():
            devices["mps"] = "Apple GPU"
        extras = {
            extra: [m for m in modules if importlib.util.find_spec(m) is None] for extra, modules in EXTRAS.items()
        }
        walls = strength()
        checks = _checks()
        lines = ["versions:", *(f"  {name:<14} {version}" for name, version in versions.items())]
        lines += ["devices:", *(f"  {name:<14} {what}" for name, what in devices.items())]
        lines += ["extras:"]
        for extra, missing in extras.items():
            lines.append(
                f"  {extra:<14} "
                + (f"lacks {', '.join(missing)}: pip install 'gradus[{extra}]'" if missing else "there")
            )
        lines += [f"programs of `gradus solve`: {walls}", "verbs:"]
        for name, found in checks.items():
            lines.append(
                f"  {name:<14} "
                + (f"works ({found['seconds']:.1f} s)" if found["code"] == 0 else f"FAILS: {found['error']}")
            )
        sound = all(found["code"] == 0 for found in checks.values())
        lines.append("everything works" if sound else "something fails: see above")
        data = {
            "versions": versions,
            "devices": devices,
            "missing": {k: v for k, v in extras.items() if v},
            "sandbox": walls.confined,
            "verbs": checks,
        }
        return Answer(data, "\n".join(lines), 0 if sound else 1)


def _versions() -> dict[str, str]:
    found = {}
    for name in CORE:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def _checks() -> dict[str, dict[str, Any]]:
    """Run every check; return exit code, seconds and the last line of what went wrong."""
    from gradus.app.cli import main

    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as home:
        images, prose = Path(home) / "images", Path(home) / "text.txt"
        _draw(images)
        prose.write_text("the cat sat on the mat and looked at the dog that sat on the log\n" * 40, encoding="utf-8")
        for name, words in CHECKS:
            started, out, err = time.perf_counter(), io.StringIO(), io.StringIO()
            with redirect_stdout(out), redirect_stderr(err):
                try:
                    code = main(words.format(home=home, images=images, text=prose).split())
                except Exception as error:
                    code = 1
                    err.write(f"{type(error).__name__}: {error}")
            last = err.getvalue().strip().splitlines()[-1:] or [""]
            results[name] = {"code": code, "seconds": time.perf_counter() - started, "error": last[0] if code else ""}
    return results


def _draw(folder: Path) -> None:
    """Write two small pictures."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 255, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
