"""The engine: one loop for everything that learns, one kind of run folder, exact resume. Imports torch when used."""

from gradus.lazy import attach

__all__ = [
    "Build", "Checkpoint", "Clock", "Descend", "EarlyStopping", "Evaluate", "History", "KeepBest", "Learner", "MaxTime",
    "Metrics", "Recipe", "Run", "RunFolder", "Source", "State", "Stop", "UpdateInfo", "Updater", "Watched", "collect",
    "fit", "restore",
]  # fmt: skip

__getattr__, __dir__ = attach(
    __name__,
    {
        "descent": ("Descend",),
        "folder": ("RunFolder",),
        "loop": ("History", "fit"),
        "learner": ("Clock", "Learner", "Metrics", "Source", "Stop"),
        "recipe": ("Build", "Recipe"),
        "run": ("Run",),
        "state": ("State", "collect", "restore"),
        "updater": ("UpdateInfo", "Updater"),
        "watchers": ("Checkpoint", "EarlyStopping", "Evaluate", "KeepBest", "MaxTime", "Watched"),
    },
)
