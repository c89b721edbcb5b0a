"""Mean average precision of detected boxes, as COCO defines it.

    AP(k, t) = 1/101 Σ_{r ∈ {0, 0.01, …, 1}} max_{R(s) ≥ r} P(s) ,   mAP = mean over t ∈ {0.50, 0.55, …, 0.95} and k

In each image and class, detections take, from the highest score down, the free true box of the largest overlap; it is
a hit at threshold t if that intersection over union is at least t. Precision P and recall R are of all images.

Exact curves need the score and the ten flags of every detection ever made. Here detections and hits are counted by
bins of the score, classes × (10 + 1) × bins integers, whatever the stream: scores of one bin tie. Where no two
detections of a class share a bin, the answer is COCO's own.

References:
    Everingham, Van Gool, Williams, Winn and Zisserman 2010, The PASCAL visual object classes challenge.
    Lin et al. 2014, Microsoft COCO: common objects in context.

Deviations:
    Recall is compared with r = k/100 in whole numbers (100 · hits ≥ k · boxes), where the COCO code's floating r may be
    above k/100 by rounding. All boxes count as of any size, none as a crowd.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.metrics.metric import Metric, check_known, wide

__all__ = ["BoxPrecision", "MeanAveragePrecision", "box_overlap"]

_THRESHOLDS = 10
_RECALLS = 101


def box_overlap(
    first: Float[Tensor, "*batch boxes 4"], second: Float[Tensor, "*batch others 4"]
) -> Float[Tensor, "*batch boxes others"]:
    """Return the intersection over union of every pair of boxes (left, top, right, bottom); 0 for two empty ones."""
    a, b = first.unsqueeze(-2), second.unsqueeze(-3)
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    common = sides.prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - common
    return torch.where(union > 0, common / union, 0.0)


class BoxPrecision(NamedTuple):
    """Average precisions, means over the classes that have true boxes.

    Attributes:
        map: mean over the thresholds 0.50 to 0.95.
        map50: at threshold 0.50.
        map75: at threshold 0.75.
        by_class: for each class over the thresholds; NaN where it has no true box.
        by_threshold: for each threshold over the classes.
    """

    map: Float[Tensor, ""]
    map50: Float[Tensor, ""]
    map75: Float[Tensor, ""]
    by_class: Float[Tensor, " classes"]
    by_threshold: Float[Tensor, " thresholds"]


@canon(
    "metrics/mean-average-precision",
    kind="metric",
    paper="Lin et al. 2014, Microsoft COCO: common objects in context",
    names=("mean-average-precision", "map"),
    example=lambda: MeanAveragePrecision(3, bins=50),
)
class MeanAveragePrecision(Metric):
    """COCO's mean average precision, in bounded memory.

    AP(k, t) = 1/101 Σ_{r ∈ {0, 0.01, …, 1}} max_{R(s) ≥ r} P(s)

    Args:
        classes: how many there are.
        bins: of the scores, equal parts of [0, 1].
        most: how many detections of a class count in one image, those of highest score.

    Raises:
        GradusError: if there is no class, bin or detection.
    """

    def __init__(self, classes: int, bins: int = 1000, most: int = 100) -> None:
        if min(classes, bins, most) < 1:
            raise GradusError(
                f"mean average precision needs classes, bins and detections, not {classes}, {bins}, {most}"
            )
        shapes = {"hits": (_THRESHOLDS, classes, bins), "detections": (classes, bins), "boxes": (classes,)}
        sums = {name: torch.zeros(shape, dtype=torch.int64) for name, shape in shapes.items()}
        faults = {name: torch.zeros((), dtype=torch.int64) for name in ("unknown", "unscored")}
        super().__init__({**sums, **faults}, classes=classes, bins=bins, most=most)

    def update(
        self,
        boxes: Float[Tensor, "batch detections 4"],
        scores: Float[Tensor, "batch detections"],
        labels: Int[Tensor, "batch detections"],
        true_boxes: Float[Tensor, "batch objects 4"],
        true_labels: Int[Tensor, "batch objects"],
    ) -> None:
        """Add images; where they have unlike numbers of boxes, the rest are padding with a negative label.

        Args:
            boxes: detected, as (left, top, right, bottom).
            scores: of each, in [0, 1].
            labels: class of each, or negative.
            true_boxes: what is there.
            true_labels: class of each, or negative.
        """
        classes, bins = self.settings["classes"], self.settings["bins"]
        labels, true_labels = labels.long(), true_labels.long()
        scores = scores.detach().to(wide(scores.device)).masked_fill(labels < 0, -torch.inf)
        order = scores.argsort(dim=1, descending=True, stable=True)
        scores, labels = scores.gather(1, order), labels.gather(1, order)
        boxes = boxes.gather(1, order.unsqueeze(2).expand(-1, -1, 4))
        counted = (labels >= 0) & (labels < classes) & (self._rank(labels) < self.settings["most"])
        matched = _match(boxes, labels, counted, true_boxes, true_labels)
        edges = torch.arange(1, bins, dtype=scores.dtype, device=scores.device) / bins
        cells = torch.where(counted, labels * bins + torch.bucketize(scores, edges, right=True), classes * bins)
        per_threshold = _tally(cells.flatten(), matched.flatten(1).long(), classes * bins)
        known = (true_labels >= 0) & (true_labels < classes)
        of_class = torch.where(known, true_labels, classes).flatten()
        detections = _tally(cells.flatten(), torch.ones_like(cells).flatten()[None], classes * bins)
        self._add(
            hits=per_threshold.view(_THRESHOLDS, classes, bins),
            detections=detections.view(classes, bins),
            boxes=_tally(of_class, torch.ones_like(of_class)[None], classes)[0],
            unknown=(labels >= classes).sum() + (true_labels >= classes).sum(),
            unscored=((labels >= 0) & ~((scores >= 0) & (scores <= 1))).sum(),
        )

    @staticmethod
    def _rank(labels: Int[Tensor, "batch detections"]) -> Int[Tensor, "batch detections"]:
        """Return how many detections of its class in its image come before each."""
        return (labels.unsqueeze(2) == labels.unsqueeze(1)).tril(-1).sum(2)

    def compute(self) -> BoxPrecision:
        """Return the average precisions; raises a GradusError if a label or a score was out of range."""
        check_known(self.sums["unknown"], self.settings["classes"])
        if int(self.sums["unscored"]):
            raise GradusError(f"{int(self.sums['unscored'])} scores are outside [0, 1]: pass probabilities, not logits")
        boxes = self.sums["boxes"]
        hits = self.sums["hits"].flip(-1).cumsum(-1)
        detections = self.sums["detections"].flip(-1).cumsum(-1)
        dtype = wide(boxes.device)
        precision = torch.where(detections > 0, hits.to(dtype) / detections.clamp(min=1), 0.0)
        # The best precision at this recall or any higher one.
        best = precision.flip(-1).cummax(-1).values.flip(-1)
        best = torch.cat([best, torch.zeros_like(best[..., :1])], dim=-1)
        steps = torch.arange(_RECALLS, device=boxes.device)
        needed = (boxes.unsqueeze(1) * steps + _RECALLS - 2) // (_RECALLS - 1)
        reached = torch.searchsorted(hits.contiguous(), needed.expand(_THRESHOLDS, -1, -1).contiguous())
        average = best.gather(-1, reached).mean(-1).masked_fill(boxes == 0, torch.nan)
        by_threshold = average.nanmean(1)
        return BoxPrecision(by_threshold.mean(), by_threshold[0], by_threshold[5], average.mean(0), by_threshold)


def _tally(cells: Int[Tensor, " n"], weights: Int[Tensor, "rows n"], size: int) -> Int[Tensor, "rows size"]:
    """Return the sums of the weights by cell for each row, leaving out the cell after the last."""
    sums = torch.zeros(len(weights), size + 1, dtype=torch.int64, device=cells.device)
    return sums.scatter_add_(1, cells.expand_as(weights), weights)[:, :size]


def _match(
    boxes: Float[Tensor, "batch detections 4"],
    labels: Int[Tensor, "batch detections"],
    counted: Bool[Tensor, "batch detections"],
    true_boxes: Float[Tensor, "batch objects 4"],
    true_labels: Int[Tensor, "batch objects"],
) -> Bool[Tensor, "thresholds batch detections"]:
    """Return which detections, sorted by score, are hits at each threshold."""
    batch, detections, objects = *labels.shape, true_labels.shape[1]
    if not detections or not objects:
        return torch.zeros(_THRESHOLDS, batch, detections, dtype=torch.bool, device=labels.device)
    precise = wide(boxes.device)
    # Reversed, since of equally overlapping true boxes the last is taken and argmax finds the first.
    overlap = box_overlap(boxes.detach().to(precise), true_boxes.detach().to(precise).flip(1))
    allowed = (labels.unsqueeze(2) == true_labels.flip(1).unsqueeze(1)) & counted.unsqueeze(2)
    overlap = torch.where(allowed, overlap, -1.0)
    thresholds = torch.arange(50, 100, 5, dtype=precise, device=boxes.device)[:, None] / 100
    places = torch.arange(objects, device=boxes.device)
    free = torch.ones(_THRESHOLDS, batch, objects, dtype=torch.bool, device=boxes.device)
    hits = []
    # The greedy choice is one after another by its nature; images and thresholds go side by side.
    for i in range(detections):
        candidates = torch.where(free, overlap[:, i], -1.0)
        best = candidates.argmax(-1, keepdim=True)
        hit = candidates.gather(-1, best).squeeze(-1) >= thresholds
        free = free & ~(hit.unsqueeze(-1) & (places == best))
        hits.append(hit)
    return torch.stack(hits, dim=-1)
