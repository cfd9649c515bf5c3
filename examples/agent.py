"""An agent that counts words: `python examples/agent.py`, with a server running."""

from pathlib import Path

from opscore.sdk import Agent, Fatal, Task

agent = Agent("librarian", max_in_flight=8)


@agent.task("count-words")
def count_words(path: str, task: Task) -> int:  # a plain function runs in a thread
    task.progress(message=f"reading {path}")
    try:
        return len(Path(path).read_text(encoding="utf-8").split())
    except FileNotFoundError:
        raise Fatal(f"there is no file {path}") from None  # trying again would not help


@agent.task("sum-up")
async def sum_up(counts: list[int]) -> str:  # a coroutine runs on the agent's loop
    return f"{sum(counts):,} words in {len(counts)} files"


agent.run()
