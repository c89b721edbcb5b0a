"""Program synthesis: questions answered by programs that a language model writes and the sandbox runs."""

from gradus.lazy import attach

__all__ = [
    "Endpoint", "Limits", "Local", "Outcome", "Question", "Solution", "Solver", "Writes", "cluster", "read_questions",
    "run_program", "strength", "try_escapes",
]  # fmt: skip

__getattr__, __dir__ = attach(
    __name__,
    {
        "courses": ("cluster",),
        "escapes": ("try_escapes",),
        "model": ("Endpoint", "Local", "Writes"),
        "questions": ("Question", "read_questions"),
        "sandbox": ("Limits", "Outcome", "run_program", "strength"),
        "solving": ("Solution", "Solver"),
    },
)
