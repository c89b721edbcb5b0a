"""`gradus explain` and `gradus attack`: why a model answers as it does, and what makes it answer otherwise."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

from gradus import canon
from gradus.app.using import RunVerb
from gradus.app.verb import Answer, shown
from gradus.engine.folder import RunFolder
from gradus.errors import GradusError, nearest

__all__ = ["Attack", "Explain"]


@dataclass(kw_only=True)
class Looking(RunVerb):
    """A verb whose words are RUN and, if wanted, a file or a folder of images."""

    files: str | None = None
    """An image file, a folder of them, or a text (also given as the second word); test data when left out."""
    out: str | None = None
    """The folder for the pictures, in the run's `plots` when left out; for texts the page to write."""

    operands: ClassVar[tuple[str, ...]] = ("run", "files")

    def data(self, folder: RunFolder, product: Any, split: str, count: int) -> Any:
        """Return some of the images that the run's recipe held out, the classes in turn.

        Raises:
            GradusError: if its data is not there, saying what else can be done.
        """
        from gradus.app.report.attacked import spread_over_classes
        from gradus.app.report.held_out import held_out

        verb = type(self).__name__.lower()
        if count < 1:
            raise GradusError(f"--count must be positive, got {count}")
        body = folder.read()
        if body.get("members") and body.get("vary", "seed") != "ensemble":
            raise GradusError(
                f"the members of {folder.name!r} have each divided the data in their own way, so that no image is new "
                f"to all: name images, gradus {verb} {self.run} FILE_OR_FOLDER, or one member, {self.run}/members/0"
            )
        try:
            splits = held_out(body, folder.name, tuple(product.classes))
        except GradusError as error:
            raise GradusError(f"{error}; name images instead: gradus {verb} {self.run} FILE_OR_FOLDER") from None
        images = {"train": splits.train, "val": splits.val, "test": splits.test}[split]
        if not len(images):
            raise GradusError(f"the {split} split of {splits.name!r} holds no images: choose another --split")
        return spread_over_classes(images, count)

    def inputs(self, product: Any, chunk: int) -> "Iterator[tuple[list[str], Any]]":
        """Yield the names and pixels of the user's files, at most `chunk` at a time."""
        assert self.files is not None
        for batch in product.read(Path(self.files)):
            for at in range(0, len(batch.names), chunk):
                yield batch.names[at : at + chunk], batch.inputs[at : at + chunk]

    def chunk(self, product: Any) -> int:
        """Return how many images of a product's size may be differentiated at once."""
        from gradus.app.report.measure import effort_of

        return effort_of(product).chunk

    def pictures(self, folder: RunFolder) -> Any:
        """Return the folder that pictures go to, made if missing."""
        from gradus.app.report.pictures import Pictures

        return Pictures(Path(self.out) if self.out else folder.path / "plots" / type(self).__name__.lower())


def class_index(classes: Sequence[str], name: str) -> int:
    """Return which class a user means, by its name.

    Raises:
        GradusError: if there is none, naming the nearest.
    """
    folded = [known.lower() for known in classes]
    if name in classes:
        return list(classes).index(name)
    if folded.count(name.lower()) == 1:
        return folded.index(name.lower())
    raise GradusError(f"--target: there is no class {name!r}{nearest(name, classes)}")


@dataclass(kw_only=True)
class Explain(Looking):
    """Show which pixels or words a prediction rests on: gradus explain RUN FILE_OR_FOLDER_OR_TEXT."""

    method: str = "integrated-gradients"
    """integrated-gradients, grad-cam, occlusion, saliency (`gradus list --kind explainer`); for text also
    gradient-times-input."""
    target: str | None = None
    """The class to explain; the predicted one when left out."""
    count: int = 8
    """How many test images or texts, where none is given."""

    def __call__(self) -> Answer:
        """Predict, attribute, and write each input beside its overlay; of text, colour the words."""
        from gradus.engine.capabilities import Highlights, ask

        folder, product = self.folder(self.run), self.product(self.run, self.device)
        if isinstance(product, Highlights):
            return self._texts(folder, product)
        entry = canon.lookup("explainer", self.method, "explanation method")
        product = ask(product, "explain", folder.name, "explain")
        chosen = None if self.target is None else class_index(product.classes, self.target)
        chunk = self.chunk(product)
        settings = self._settings(entry, product, chunk)
        batches = self._batches(folder, product, chunk)
        pictures = None
        rows: list[dict[str, Any]] = []
        for names, images in batches:
            pictures = pictures or self.pictures(folder)
            rows += _explained(product, canon.load(entry), settings, names, images, chosen, pictures, entry.names[0])
        name = folder.name
        data = {"run": name, "method": entry.names[0], "explanations": rows}
        where = pictures.folder if pictures is not None else folder.path
        lines = [f"{name}: {entry.names[0]} of {len(rows)} images, in {shown(where)}"]
        width = max((len(row["file"]) for row in rows), default=0)
        for row in rows:
            told = "" if row["explained"] == row["class"] else f"  explained: {row['explained']}"
            lines.append(f"  {row['file']:<{width}}  {row['class']}  {row['probability']:.3f}{told}")
        return Answer(data, "\n".join(lines))

    def _texts(self, folder: RunFolder, product: Any) -> Answer:
        """Explain a text, the texts of a file, or some that the run's recipe held out."""
        from gradus.app.highlighting import answer
        from gradus.app.report.held_out import recipe_of

        words: str | list[Any] = self.files or ""
        if self.files is None:
            recipe: Any = recipe_of(folder.read(), folder.name)
            words = list(recipe.splits().test.inputs[: self.count])
        return answer(
            folder.name, product, words, method=self.method, target=self.target, count=self.count, out=self.out
        )

    def _settings(self, entry: canon.Entry, product: Any, chunk: int) -> dict[str, Any]:
        """Return what this explainer takes besides its inputs."""
        settings: dict[str, Any] = {}
        if "layer" in entry.parameters:
            settings["layer"] = product.feature_map
        if "chunk" in entry.parameters:
            settings["chunk"] = chunk
        if self.method == "saliency" and "absolute" in entry.parameters:
            settings["absolute"] = True
        return settings

    def _batches(self, folder: RunFolder, product: Any, chunk: int) -> "Iterator[tuple[list[str], Any]]":
        """Yield names and images: the user's files, or some of the test split."""
        if self.files is not None:
            yield from self.inputs(product, chunk)
            return
        images = self.data(folder, product, "test", self.count)
        for i, batch in enumerate(images.batches(chunk, product.device)):
            yield [f"test-{name}" for name in images.names[i * chunk : (i + 1) * chunk]], batch.images


def _explained(
    product: Any,
    explainer: Any,
    settings: dict[str, Any],
    names: Sequence[str],
    images: Any,
    chosen: int | None,
    pictures: Any,
    ending: str,
) -> list[dict[str, Any]]:
    """Explain one batch; return a row for each image."""
    import torch

    from gradus.app.report.pictures import beside, enlarged, overlay, pixels
    from gradus.nn.probe import frozen

    probabilities = product.predict(images)
    guesses = probabilities.argmax(1)
    target = guesses.clone() if chosen is None else torch.full_like(guesses, chosen)
    with frozen(product.module):
        attributions = explainer(product.scores, images, target=target, **settings)
    rows = []
    for name, image, attribution, row, guess, aim in zip(
        names, images, attributions, probabilities.tolist(), guesses.tolist(), target.tolist(), strict=True
    ):
        picture = beside(enlarged(pixels(image)), enlarged(overlay(image, attribution)))
        path = pictures.write(name, ending, picture)
        rows.append(
            {
                "file": name, "class": product.classes[guess], "probability": row[guess],
                "explained": product.classes[aim], "path": str(path),
            }
        )  # fmt: skip
    return rows


@dataclass(kw_only=True)
class Attack(Looking):
    """Measure accuracy against an adversary, or change given images: gradus attack RUN --eps 8/255."""

    method: str = "pgd"
    """pgd, fgsm; `gradus list --kind attack` shows them all."""
    eps: str | None = None
    """The largest change, as 8/255 or 0.03; 8/255 when left out, 0.5 in the norm l2."""
    steps: int | None = None
    """Steps of the method; its own number when left out."""
    norm: str | None = None
    """Norm of the change: linf or l2; the method's own when left out."""
    target: str | None = None
    """Make the model name this class, of given files; any wrong one when left out."""
    count: int = 256
    """How many images of the split, the classes in turn."""
    split: str = "test"
    """Which part of the data: train, val or test."""

    def __call__(self) -> Answer:
        """Attack the given files, or else a split of the run's data."""
        from gradus.engine.capabilities import ask

        entry = canon.lookup("attack", self.method)
        settings = self._settings(entry)
        eps = parse_eps(self.eps or ("0.5" if self.norm == "l2" else "8/255"), self.norm or "linf")
        if self.split not in ("train", "val", "test"):
            raise GradusError(f"--split: there is no {self.split!r}{nearest(self.split, ['train', 'val', 'test'])}")
        if self.target is not None and self.files is None:
            raise GradusError("--target needs images to change: gradus attack RUN FILE_OR_FOLDER --target CLASS")
        folder = self.folder(self.run)
        product = ask(self.product(self.run, self.device), "explain", folder.name, "attack")
        if self.files is not None:
            return self._attack_files(folder, product, entry, settings, eps)
        return self._attack_data(folder, product, entry, settings, eps)

    def _settings(self, entry: canon.Entry) -> dict[str, Any]:
        """Return the options that were given, if the method takes them.

        Raises:
            GradusError: if it does not.
        """
        given = {"steps": self.steps, "norm": self.norm}
        settings = {key: value for key, value in given.items() if value is not None}
        for key in [key for key in settings if key not in entry.parameters]:
            if (key, settings[key]) != ("norm", "linf"):
                raise GradusError(f"--{key}: the attack {entry.names[0]} takes none; leave it out, or use pgd")
            del settings[key]
        return settings

    def _attack_data(
        self, folder: RunFolder, product: Any, entry: canon.Entry, settings: dict[str, Any], eps: float
    ) -> Answer:
        """Measure accuracy for several budgets up to ε."""
        from gradus.nn.probe import frozen
        from gradus.robust.curve import robust_curve

        images = self.data(folder, product, self.split, self.count)
        attack = canon.load(entry)
        early = {"early_exit": True} if "early_exit" in entry.parameters else {}
        budgets = sorted({0.0, eps / 8, eps / 4, eps / 2, eps})
        with frozen(product.module):
            curve = robust_curve(
                product.scores, images.batches(self.chunk(product), product.device), eps=budgets,
                attack=lambda fn, x, y, *, eps: attack(fn, x, y, eps=eps, **settings, **early),
            )  # fmt: skip
        name, norm, method = folder.name, self.norm or "linf", entry.names[0]
        metrics = {
            f"{self.split}/accuracy": curve.accuracy[0],
            f"{self.split}/robust_accuracy": curve.accuracy[-1],
        }
        points = [{"eps": e, "accuracy": a} for e, a in zip(curve.eps, curve.accuracy, strict=True)]
        data = {
            "run": name, "method": method, "norm": norm, "eps": eps, "images": curve.samples,
            "metrics": metrics, "curve": points,
        }  # fmt: skip
        lines = [
            f"{name}: {method} in the norm {norm} on {curve.samples} images of {self.split}",
            "  ε         accuracy",
        ]
        lines += [f"  {told(p['eps'], norm):<8}  {p['accuracy']:.4f}" for p in points]
        return Answer(data, "\n".join(lines))

    def _attack_files(
        self, folder: RunFolder, product: Any, entry: canon.Entry, settings: dict[str, Any], eps: float
    ) -> Answer:
        """Change the user's images until the model answers otherwise."""
        aim = None if self.target is None else class_index(product.classes, self.target)
        pictures = None
        rows: list[dict[str, Any]] = []
        for names, images in self.inputs(product, self.chunk(product)):
            pictures = pictures or self.pictures(folder)
            attack = canon.load(entry)
            rows += _attacked(product, attack, {**settings, "eps": eps}, names, images, aim, pictures, entry.names[0])
        name, norm = folder.name, self.norm or "linf"
        fell = sum(row["changed"] for row in rows)
        data = {
            "run": name, "method": entry.names[0], "norm": norm, "eps": eps, "changed": fell, "attacks": rows,
        }  # fmt: skip
        wanted = "another class" if aim is None else product.classes[aim]
        how = f"{entry.names[0]} with ε = {told(eps, norm)}"
        lines = [f"{name}: {fell} of {len(rows)} images are taken for {wanted} after {how}"]
        width = max((len(row["file"]) for row in rows), default=0)
        for row in rows:
            before, after = row["before"], row["after"]
            lines.append(
                f"  {row['file']:<{width}}  {before['class']} {before['probability']:.3f}"
                f" → {after['class']} {after['probability']:.3f}"
            )
        lines += [f"  in {shown(pictures.folder)}"] if pictures is not None else []
        return Answer(data, "\n".join(lines))


def _attacked(
    product: Any,
    attack: Any,
    settings: dict[str, Any],
    names: Sequence[str],
    images: Any,
    aim: int | None,
    pictures: Any,
    ending: str,
) -> list[dict[str, Any]]:
    """Attack one batch; return a row for each image.

    Without true labels an attack goes against what the model says. What is judged is the picture that is written, whose
    values are whole bytes: changes are cut towards the original, so that they stay within ε.
    """
    import torch

    from gradus.nn.probe import frozen

    before = product.predict(images)
    guesses = before.argmax(1).clone()
    labels = guesses if aim is None else torch.full_like(guesses, aim)
    with frozen(product.module):
        adversarial = attack(product.scores, images, labels, targeted=aim is not None, **settings)
    whole = (images * 255).round() + ((adversarial - images) * 255 * (1 + 1e-6)).trunc()
    after = product.predict(whole / 255)
    rows = []
    for i, name in enumerate(names):
        old, new = int(guesses[i]), int(after[i].argmax())
        array = whole[i].to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        path = pictures.write(name, ending, array[:, :, 0] if array.shape[2] == 1 else array)
        rows.append(
            {
                "file": name, "path": str(path), "changed": new != old if aim is None else new == aim,
                "before": {"class": product.classes[old], "probability": float(before[i, old])},
                "after": {"class": product.classes[new], "probability": float(after[i, new])},
            }
        )  # fmt: skip
    return rows


def parse_eps(word: str, norm: str) -> float:
    """Return a budget written as a fraction or a decimal.

    Raises:
        GradusError: if it is no number, or more than images can change by.
    """
    try:
        value = float(Fraction(word.replace(" ", ""))) if "/" in word else float(word)
    except (ValueError, ZeroDivisionError):
        raise GradusError(f"--eps takes a number or a fraction like 8/255, got {word!r}") from None
    if not (math.isfinite(value) and value >= 0):
        raise GradusError(f"--eps must be a finite number of at least 0, got {word}")
    if norm == "linf" and value > 1:
        remedy = f"write {word}/255" if "/" not in word and value <= 255 else "write 8/255, say"
        raise GradusError(f"--eps {word} is more than images in [0, 1] can change by: {remedy}")
    return value


def told(eps: float, norm: str) -> str:
    """Return a budget as people write it: in steps of 1/255 where it bounds single values."""
    return f"{round(eps * 255, 3):g}/255" if norm == "linf" else f"{eps:.4g}"
