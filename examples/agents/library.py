"""A librarian with a tiny shelf, a writer, and a critic. No network, no model: plain rules."""

from __future__ import annotations

from opscore.sdk import Agent, Fatal

SHELF = {
    "bees": "Bees live in colonies. A colony has one queen. Bees dance to tell where flowers are.",
    "wax": "Wax is made by worker bees. Candles are made of wax.",
    "honey": "Honey is made of nectar. Honey keeps for centuries.",
    "ships": "Ships carry most goods. A ship is steered by its rudder.",
}

librarian = Agent("librarian", max_in_flight=8)
writer = Agent("writer", max_in_flight=8)
critic = Agent("critic", max_in_flight=8)


@librarian.task("search")
def search(topic: str) -> list[str]:
    """The titles whose text mentions the topic."""
    word = topic.lower().rstrip("s")
    return [title for title, text in SHELF.items() if word in text.lower() or word in title]


@librarian.task("read")
def read(title: str) -> list[str]:
    """The sentences of a page."""
    if title not in SHELF:
        raise Fatal(f"there is no page {title!r}")
    return [sentence.strip() for sentence in SHELF[title].rstrip(".").split(".")]


@writer.task("draft")
def draft(topic: str, facts: list[list[str]], advice: list[str]) -> str:
    """A text of the facts that follows the critic's advice."""
    sentences = [sentence for page in facts for sentence in page]
    text = ". ".join(sentences) + "."
    if "begin with a title" in advice:
        text = f"About {topic}\n\n{text}"
    if "end with a count" in advice:
        text += f"\n\n({len(sentences)} facts)"
    return text


@critic.task("critique")
def critique(text: str) -> dict[str, object]:
    """A score from 0 to 10 and what would make it better."""
    advice = [] if text.startswith("About") else ["begin with a title"]
    if not text.endswith(")"):
        advice.append("end with a count")
    return {"score": 10 - 4 * len(advice), "advice": advice}


@writer.task("polish")
def polish(text: str) -> dict[str, object]:
    """Take one needless word out; `rest` says how many are left."""
    needless = ("very ", "really ", "quite ")
    for word in needless:
        if word in text:
            text = text.replace(word, "", 1)
            break
    return {"text": text, "rest": sum(text.count(word) for word in needless)}


@writer.task("translate")
def translate(text: str, language: str) -> str:
    """A few words of a few languages."""
    words = {
        "de": {"hello": "hallo", "world": "Welt"},
        "es": {"hello": "hola", "world": "mundo"},
    }
    if language not in words:
        raise Fatal(f"no dictionary for {language!r}")
    return " ".join(words[language].get(word, word) for word in text.split())


AGENTS = [librarian, writer, critic]
