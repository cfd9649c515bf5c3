"""Two trainers: only one of them has a GPU, and says so in its labels."""

from __future__ import annotations

from opscore.sdk import Agent

plain = Agent("plain-trainer", labels={"gpu": "no"})
strong = Agent("strong-trainer", labels={"gpu": "yes"}, version="2")


@plain.task("train")
def train(model: str) -> str:
    """Train without a GPU."""
    return f"{model} trained slowly"


@strong.task("train")
def train_fast(model: str) -> str:
    """Train with a GPU."""
    return f"{model} trained on a GPU"


@plain.task("evaluate")
@strong.task("evaluate")
def evaluate(trained: str) -> int:
    """Whoever does it, a GPU makes the score better, and nothing else."""
    return 9 if trained.endswith("GPU") else 7


AGENTS = [plain, strong]
