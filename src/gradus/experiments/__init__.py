"""Experiments: a question, a table of measurements, figures; `gradus experiment NAME`. Importing this is free.

An experiment is a recipe whose steps are the cells of its table, so that it lives in a run folder, is killed and
resumed like any training, and ends with its table and figures instead of a model.
"""

from gradus.lazy import attach

__all__ = ["Experiment", "Findings"]

__getattr__, __dir__ = attach(__name__, {"experiment": ("Experiment",), "findings": ("Findings",)})
