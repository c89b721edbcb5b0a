"""What the held-out images say, as sections: confusion, calibration, mistakes, robustness."""

from collections.abc import Sequence

import numpy as np

from gradus.app.report.attacked import Attacked, Fooled
from gradus.app.report.charts import Line, confidence_histogram, line_chart, reliability_diagram
from gradus.app.report.matrix import confusion_figure, confusions
from gradus.app.report.measure import Measured, Mistake
from gradus.app.report.page import Section, table, value
from gradus.app.report.pictures import Pixels, amplified, data_uri, overlay, pixels
from gradus.app.report.svg import Frame, compact, count, percent, tag, text

__all__ = ["calibration", "classes", "mistakes", "robustness"]

COARSE = 100


def classes(counts: np.ndarray, names: Sequence[str], things: str = "images") -> Section:
    """Return the confusion matrix, the most frequent confusions and the table of the classes.

    Args:
        counts: rows are true classes, columns predictions.
        names: of the classes.
        things: what is counted.
    """
    found = confusions(counts)
    total, wrong = int(counts.sum()), int(counts.sum() - np.trace(counts))
    said = f"{count(wrong)} of {count(total)} {things} are taken for another class."
    if found and found[0][2] > 1:
        i, j, times = found[0]
        said += f" Most often {names[i]} is taken for {names[j]}: {times} of {counts[i].sum()} times."
    said += " Blue is the share of a class that was recognised, orange what it was taken for, on a finer scale."
    rows = [
        tag("tr", tag("td", text(names[i])), tag("td", text(names[j])), tag("td", count(n)))
        for i, j, n in found
        if n > 1
    ]
    left = confusion_figure(counts, names)
    if rows:
        left += tag("h3", "Most frequent confusions", style="margin-top:28px")
        left += table(["true", "taken for", "times"], rows, label="The most frequent confusions")
    right = tag("h3", "By class", class_="beside-caption") + _by_class(counts, names, things)
    body = tag("div", tag("div", left), tag("div", right), class_="row wide")
    return Section("classes", "Classes", tag("p", text(said)) + body)


def _by_class(counts: np.ndarray, names: Sequence[str], things: str) -> str:
    hits, true, guessed = np.diag(counts), counts.sum(1), counts.sum(0)
    wholes = (guessed, true, (true + guessed) / 2)
    shares = np.stack([hits / np.where(whole > 0, whole, 1) for whole in wholes])
    rows = []
    for name, images, found in zip(names, true.tolist(), shares.T.tolist(), strict=True):
        cells = [tag("th", text(name), scope="row"), tag("td", count(images))]
        for share in found:
            shown = value(share, f"{share:.3f}")
            cells.append(tag("td", shown, class_="meter", style=f"--v:{share:.4f}", data_sort=f"{share:.6f}"))
        rows.append(tag("tr", *cells))
    head = ["class", things, "precision", "recall", "F1"]
    return table(head, rows, "sortable", "Precision, recall and F1 of every class")


def calibration(measured: Measured, things: str = "images") -> Section:
    """Return the reliability diagram and the histogram of confidence."""
    found = measured.reliability
    samples = found.samples.tolist()
    mean = float(measured.confidence.mean())
    right = float((measured.guesses == measured.labels).float().mean())
    gap = mean - right
    verdict = "about as sure as it is right" if abs(gap) < 0.01 else "too sure" if gap > 0 else "not sure enough"
    said = (
        f"On average the model is {percent(mean)} sure and {percent(right)} right: it is {verdict}. "
        "The expected calibration error (ECE) is the mean distance between the two, over bins of confidence. "
        f"Pale bars hold fewer than five {things}."
    )
    facts = {"ECE": found.ece, "largest gap of a bin": found.mce, "Brier score": found.brier}
    listed = "".join(tag("dt", text(k)) + tag("dd", value(float(v), f"{float(v):.4f}")) for k, v in facts.items())
    figures = reliability_diagram(found.confidence.tolist(), found.accuracy.tolist(), samples, things)
    figures += confidence_histogram(samples, things)
    numbers = tag("dl", listed, class_="pairs", style="align-self:center")
    return Section("calibration", "Calibration", tag("p", text(said)) + tag("div", figures, numbers, class_="row"))


KEY = (
    '<span class="keep"><span class="swatch for"></span>Orange</span> speaks for the class it named, '
    '<span class="keep"><span class="swatch against"></span>blue</span> against it.'
)


def mistakes(found: Sequence[Mistake], names: Sequence[str], total: int) -> Section:
    """Return the worst mistakes, each with what the model looked at.

    Args:
        found: the images to show.
        names: of the classes.
        total: how many mistakes there are.
    """
    if total > len(found):
        said = f"The {len(found)} most confident of {count(total)} mistakes."
    elif total:
        said = f"All {total} mistakes, the most confident first." if total > 1 else "The only mistake."
    else:
        said = "There is no mistake; these are the images of which the model is least sure."
    said += (
        " Integrated gradients divide the score among the pixels; Grad-CAM shows the regions from which the last "
        "feature maps argue."
    )
    cards = "".join(_card(one, names) for one in found)
    body = tag("p", text(said), " ", KEY) + tag("div", cards, class_="cards")
    return Section("mistakes", "Worst mistakes" if total else "Least certain", body)


def _card(one: Mistake, names: Sequence[str]) -> str:
    truth, guess = names[one.truth], names[one.guess]
    title = f"{truth} taken for {guess}" if one.truth != one.guess else f"{truth}, recognised"
    said = f"{percent(one.confidence)} sure"
    if one.truth != one.guess:
        said += f"; {percent(one.right)} for {truth}"
    images = [
        _picture(pixels(one.image), "image", f"Image {one.name}, in truth {truth}"),
        _picture(overlay(one.image, one.paths), "integrated gradients", f"Integrated gradients for {guess}"),
        _picture(overlay(one.image, one.regions), "Grad-CAM", f"Grad-CAM for {guess}"),
    ]
    head = tag("h3", text(title)) + tag("p", text(f"{said} · {_base(one.name)}"))
    return tag("article", head, tag("div", *images, class_="trio"), class_="card")


def _picture(image: Pixels, caption: str, words: str) -> str:
    look = ' class="coarse"' if min(image.shape[:2]) < COARSE else ""
    size = f'width="{image.shape[1]}" height="{image.shape[0]}"'
    shown = f'<img src="{data_uri(image)}" alt="{text(words)}" {size} loading="lazy"{look}>'
    return tag("figure", shown, text(caption))


def _base(name: str) -> str:
    return f"image {name}" if name.isdigit() else "/".join(name.split("/")[-2:])


def robustness(attacked: Attacked, names: Sequence[str]) -> Section:
    """Return accuracy against ε, and images before and after the attack."""
    curve = attacked.curve
    steps = [e * 255 for e in curve.eps]
    points = list(zip(steps, curve.accuracy, strict=True))
    clean, last = curve.accuracy[0], curve.accuracy[-1]
    said = (
        f"An adversary may change every value of every pixel by at most ε. Of {percent(clean)} right answers without "
        f"one, {percent(last)} are left at ε = {compact(steps[-1])}/255. Measured on {count(curve.samples)} test "
        "images, the classes in turn, by projected gradient descent (PGD) with 10 steps in the largest norm; a "
        "stronger attack can only lower the curve."
    )
    chart = line_chart(
        "Accuracy against ε",
        [Line("under attack", points, "c1 dots")],
        x_name="ε in 1/255",
        share=True,
        y_range=(0, 1),
        frame=Frame.wide(),
        x_ticks=steps[:1] + steps[3:],
    )
    rows = [
        tag("tr", tag("td", text(f"{compact(step)}/255")), tag("td", value(left, percent(left))))
        for step, left in points
    ]
    numbers = table(["ε", "accuracy"], rows, label="Accuracy for every budget of the adversary")
    body = tag("p", text(said)) + tag("div", chart, tag("div", numbers, class_="narrow"), class_="row")
    if attacked.examples:
        bound = f"recognised before, not after a change of at most {compact(attacked.eps * 255)}/255"
        body += tag("h3", text(f"What it takes: {bound}"), style="margin-top:34px")
        cards = "".join(_fooled(one, attacked.eps, names) for one in attacked.examples)
        body += tag("div", cards, class_="cards")
    return Section("robustness", "Robustness", body)


def _fooled(one: Fooled, eps: float, names: Sequence[str]) -> str:
    truth, guess = names[one.truth], names[one.guess]
    images = [
        _picture(pixels(one.image), "image", f"An image of {truth}"),
        _picture(amplified(one.adversarial - one.image, eps), "what is added", "What the adversary adds, amplified"),
        _picture(pixels(one.adversarial), "result", f"The result, taken for {guess}"),
    ]
    head = tag("h3", text(f"{truth} becomes {guess}")) + tag("p", text(f"{percent(one.confidence)} sure"))
    return tag("article", head, tag("div", *images, class_="trio"), class_="card")
