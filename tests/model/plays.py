"""Random plays: templates with every construct of the language, and all that comes from outside.

Times are told apart by odd milliseconds, each used once, so that no two things fall together and
what follows from them has one order.
"""

from __future__ import annotations

from itertools import count
from typing import Any
from zlib import crc32

from hypothesis import strategies as st

from tests.model.world import SECOND, Answer, Decision, Key, Play

NAMES = ("a", "b", "c", "d", "e")
PEOPLE = ("ann", "bob", "eve")
CALM = 40 * 86_400 * SECOND
"""When everything is cancelled that is open still: so that every session ends."""
RARELY = 7


class Author:
    """Writes one template. `others` are those whose sessions its steps may start.

    `bounded`: nothing in it may wait for ever, since nobody cancels it.
    """

    def __init__(
        self, draw: st.DrawFn, others: tuple[str, ...], odd: Any, *, bounded: bool = False
    ) -> None:
        self.draw = draw
        self.bounded = bounded
        self.others = others
        self.odd = odd
        self.steps: dict[str, dict[str, Any]] = {}
        self.ancestors: dict[str, set[str]] = {}

    def one_in(self, n: int) -> bool:
        return self.draw(st.integers(0, n - 1)) == n - 1

    def one_of(self, *given: Any) -> Any:
        return self.draw(st.sampled_from(given))

    def lasting(self, *seconds: int) -> str:
        return f"{self.one_of(*seconds)}s{next(self.odd)}ms"

    # -- a template -------------------------------------------------------------------------

    def template(self, name: str, steps: int, first: bool) -> dict[str, Any]:
        """`first`: the one that is started; sessions of the others begin with work."""
        if not first:
            self._add("begin", {"capability": "work", "retry": 1})
        for each in NAMES[: self.draw(st.integers(1, steps))]:
            self._add(each, None)
        made: dict[str, Any] = {"name": name, "version": "1", "env": ["REGION"]}
        made["defaults"] = {"retry": {"jitter": 0}}
        if not first and self.one_in(4):
            made["input"] = {"type": "object", "required": ["n"]}
        if self.one_in(RARELY):
            made["timeout"] = self.lasting(9, 25)
        made["steps"] = self.steps
        made["output"] = {each: f"${{{{ steps.{each}.output }}}}" for each in self.steps}
        if self.one_in(RARELY):
            made["output"] = self._leaf([*self.steps], ())
        return made

    def _add(self, name: str, step: dict[str, Any] | None) -> None:
        needs = [each for each in self.steps if self.draw(st.booleans())]
        if "begin" in self.steps and not needs:
            needs = ["begin"]
        known = {*needs}.union(*(self.ancestors[each] for each in needs))
        self.ancestors[name] = known
        self.steps[name] = self._step(needs, sorted(known)) if step is None else step

    def _step(self, needs: list[str], known: list[str]) -> dict[str, Any]:
        step: dict[str, Any] = {"needs": needs} if needs else {}
        scope: tuple[str, ...] = ()
        if needs and self.one_in(4):
            step["when"] = self.one_of("failed", "always")
            scope = ("error",)
        if self.one_in(5):
            step["continueOnError"] = True
        if self.one_in(5):
            step["if"] = self._condition(known)
        kinds = ["task"] * 5 + ["value", "wait", "signal", "approval"]
        kind = self.one_of(*kinds, *(["workflow"] * 2 if self.others else []))
        make = {"value": self._value, "workflow": self._work, "task": self._work}
        if kind in make:
            make[kind](step, kind, known, scope)
        else:
            step |= self._waiting(kind, known)
            sure = "wait" in step and "${{" not in step["wait"]
            if not sure and self.one_in(4):
                step["fallback"] = self._fallback(known, (*scope, "error"))
        if self.one_in(4):
            step["compensate"] = self._compensation(known, kind != "wait")
        return step

    # -- kinds ------------------------------------------------------------------------------

    def _value(
        self, step: dict[str, Any], kind: str, known: list[str], scope: tuple[str, ...]
    ) -> None:
        if self.one_in(3):
            step["foreach"] = self._items(known)
            scope = (*scope, "item", "index")
            if self.draw(st.booleans()):
                step["failures"] = "collect"
        step["value"] = self._tree(known, scope)
        if self.one_in(5):
            step["output"] = self._schema()

    def _work(
        self, step: dict[str, Any], kind: str, known: list[str], scope: tuple[str, ...]
    ) -> None:
        step |= self._addressee(kind)
        if self.one_in(3):
            step["foreach"] = self._items(known)
            scope = (*scope, "item", "index")
            if self.draw(st.booleans()):
                step["failures"] = "collect"
            if self.draw(st.booleans()):
                step["maxParallel"] = self.one_of(1, 2)
        elif self.one_in(4):
            scope = (*scope, "previous", "index")
            step["repeat"] = {"until": self._until(), "max": self.one_of(1, 2, 3)}
        if self.draw(st.booleans()):
            step["with"] = self._arguments(known, scope)
        if self.draw(st.booleans()):
            step["retry"] = self._retry()
        if kind == "task":
            step["timeout"] = self._bounds(step)
        if self.one_in(3):
            step["fallback"] = self._fallback(known, (*scope, "error"))
            if any("ghost" in member.values() for member in step["fallback"]):
                step["timeout"] = {**step.get("timeout", {}), "queue": self.lasting(20)}
        if self.one_in(5):
            step["output"] = self._schema()
        if kind == "workflow":
            step.pop("timeout", None)
            if self.one_in(5):
                step["timeout"] = self.lasting(7, 40)

    def _addressee(self, kind: str) -> dict[str, Any]:
        if kind == "workflow":
            name = self.one_of(*self.others)
            return {"workflow": self.one_of(name, {"name": name, "version": "1"})}
        return self.one_of({"capability": "work"}, {"capability": "other"}, {"agent": "named"})

    def _bounds(self, step: dict[str, Any]) -> dict[str, Any]:
        bounds: dict[str, Any] = {"queue": self.lasting(20)}
        if self.one_in(12):
            step.pop("agent", None)
            step["capability"] = "ghost"
        if self.one_in(4):
            bounds["attempt"] = self.lasting(2, 17)
        if self.one_in(6):
            bounds["heartbeat"] = self.lasting(3)
        if self.one_in(6):
            bounds["total"] = self.lasting(5, 30)
        return bounds

    def _fallback(self, known: list[str], scope: tuple[str, ...]) -> list[dict[str, Any]]:
        chain: list[dict[str, Any]] = []
        for _ in range(self.draw(st.integers(0, 2))):
            member = self._addressee("workflow" if self.others and self.one_in(3) else "task")
            if "workflow" in member:
                member = {"workflow": self.others[0]}
            if self.draw(st.booleans()):
                member["with"] = self._arguments(known, scope)
            chain.append(member)
        if not chain or self.draw(st.booleans()):
            chain.append({"value": self._tree(known, scope)})
        return chain

    def _compensation(self, known: list[str], itself: bool) -> dict[str, Any]:
        how: dict[str, Any] = self.one_of({"capability": "undo"}, {"agent": "named"})
        how = {**how, "with": {"why": "${{ error.class }}"}, "retry": self._retry()}
        if known:
            how["with"] |= {"of": self._leaf(known, ())}
        if self.one_in(8):
            how = {**how, "capability": "ghost"}
            how.pop("agent", None)
        return {**how, "timeout": {"queue": self.lasting(20)}}

    def _waiting(self, kind: str, known: list[str]) -> dict[str, Any]:
        if kind == "wait":
            past = {"until": "2020-01-01T00:00:00Z"}
            computed = "${{ input.n > 1 ? '" + self.lasting(2) + "' : '" + self.lasting(5) + "' }}"
            return {"wait": self.one_of(past, self.lasting(1, 4), computed, "${{ input.n }}")}
        if kind == "signal":
            name = self.one_of("go", "stop")
            schema = {"name": name, "schema": {"type": "integer"}}
            step: dict[str, Any] = {"signal": self.one_of(name, name, schema)}
            bounded = self.bounded or self.draw(st.booleans())
            return step | ({"timeout": self.lasting(6, 60)} if bounded else {})
        asked: dict[str, Any] = {"title": self.one_of("ok?", "n is ${{ input.n }}", "ok?")}
        asked["details"] = self._tree(known, ())
        if self.draw(st.booleans()):
            asked["approvers"] = self.one_of(["ann"], ["ann", "bob"])
        asked["quorum"] = self.one_of(1, len(asked.get("approvers", "12")))
        if self.bounded or self.draw(st.booleans()):
            asked["timeout"] = self.lasting(4, 30)
            asked["onTimeout"] = self.one_of("approve", "reject", "escalate")
            if asked["onTimeout"] == "escalate":
                word = self.one_of("approve", "reject")
                others = {"approvers": ["eve"], "timeout": self.lasting(7), "onTimeout": word}
                asked["escalate"] = others
        return {"approval": asked}

    # -- their parts ------------------------------------------------------------------------

    def _retry(self) -> Any:
        if self.one_in(3):
            return {"maxAttempts": self.one_of(1, 2), "jitter": 0}
        policy: dict[str, Any] = {"maxAttempts": self.one_of(1, 2, 3), "jitter": 0}
        policy["backoff"] = self.one_of("constant", "linear", "exponential")
        policy["initialDelay"] = self.lasting(2)
        if self.one_in(3):
            policy["maxDelay"] = "3s"
        if self.one_in(3):
            words = ["boom", "timeout", "invalid_output", "agent_lost", "fatal"]
            policy["errors"] = self.draw(st.lists(st.sampled_from(words), min_size=1, unique=True))
        if self.one_in(3):
            own = self.one_of(2, {"maxAttempts": 2, "backoff": "constant", "initialDelay": "1s"})
            policy["per"] = {self.one_of("boom", "fatal", "rate_limited"): own}
        return policy

    def _items(self, known: list[str]) -> Any:
        given = [[1, "x", None], [], [3, 4], {"b": 1, "a": [2]}]
        computed = ["${{ input.items }}", "${{ input.map }}", "${{ input.n }}", "${{ input.no }}"]
        tasks = [each for each in known if {"capability", "agent"} & self.steps[each].keys()]
        of_tasks = [f"${{{{ steps.{n}.output }}}}" for n in tasks if "output" not in self.steps[n]]
        return self.one_of(*given, *computed, *of_tasks)

    def _condition(self, known: list[str]) -> str:
        found = ["input.n > 1", "${{ input.flag }}", "!input.flag || input.n == 2", "input.no"]
        for name in known:
            found += [
                f"steps.{name}.status == 'completed'",
                f"${{{{ steps.{name}.error != null }}}}",
                f"steps.{name}.output == null",
            ]
        return self.one_of(*found)

    def _until(self) -> str:
        return self.one_of("previous == 1", "index >= 1", "previous.n > 1", "previous == null")

    def _schema(self) -> dict[str, Any]:
        return self.one_of({"type": "integer"}, {"type": "object", "required": ["n"]})

    def _arguments(self, known: list[str], scope: tuple[str, ...]) -> Any:
        if self.one_in(5):
            return "${{ input }}"
        keys = self.draw(st.lists(st.sampled_from(["n", "x", "y"]), max_size=2, unique=True))
        return {key: self._tree(known, scope) for key in keys}

    def _tree(self, known: list[str], scope: tuple[str, ...]) -> Any:
        match self.draw(st.integers(0, 3)):
            case 0:
                return {"k": self._leaf(known, scope)}
            case 1:
                return [self._leaf(known, scope), self._leaf(known, scope)]
            case _:
                return self._leaf(known, scope)

    def _leaf(self, known: list[str], scope: tuple[str, ...]) -> Any:
        found: list[Any] = [1, "x", None, True]
        found += ["${{ input.n }}", "${{ input.n + 1 }}", "n${{ input.n }}", "$${{ x }}"]
        found += ["${{ env.REGION }}", "${{ size(input.items) }}"]
        if self.one_in(8):
            found = ["${{ input.no }}", "${{ input.n + 'x' }}"]
        for name in known:
            found += [f"${{{{ steps.{name}.output }}}}", f"${{{{ steps.{name}.status }}}}"]
            found += [f"${{{{ steps.{name}.error == null }}}}"]
        if "error" in scope:
            found += ["${{ error == null ? 'none' : error.class }}", "${{ error.class }}"] * 2
        if "index" in scope:
            found += ["${{ index }}", "${{ string(index) + 'th' }}"] * 2
        found += [f"${{{{ {name} }}}}" for name in scope if name in ("item", "previous")] * 3
        return self.one_of(*found)


@st.composite
def plays(draw: st.DrawFn) -> Play:
    """A play with up to four templates: the first, its children, theirs, and an `onError`."""
    odd = (each * 2 + 1 for each in count(1))
    templates: list[dict[str, Any]] = []
    names: tuple[str, ...] = ()
    if draw(st.integers(0, 2)) == 0:
        if draw(st.integers(0, 2)) == 0:
            templates.append(Author(draw, (), odd).template("grandchild", 2, first=False))
            names = ("grandchild",)
        templates.append(Author(draw, names, odd).template("child", 3, first=False))
        names = ("child",)
    main = Author(draw, names, odd).template("first", 5, first=True)
    if draw(st.integers(0, 3)) == 0:
        templates.append(Author(draw, (), odd, bounded=True).template("after", 2, first=False))
        given = {"why": "${{ error.class }}", "n": "${{ steps.a.output }}"}
        main["onError"] = {"workflow": "after", "with": given}
    times = st.integers(0, 20).map(lambda n: n * SECOND + next(odd) * 1000)
    signals = st.tuples(
        st.sampled_from(["go", "go", "stop", "no"]),
        st.sampled_from(["1", "2", "3", "4"]),
        st.sampled_from([0, 1, "x"]),
        times,
    )
    decisions = st.builds(
        Decision,
        st.sampled_from(["approve", "approve", "approve", "edit", "reject"]),
        st.sampled_from(PEOPLE),
        times,
        st.sampled_from([1, {"n": 2}]),
    )
    asked = [
        name if template is main else f"{template['name']}/{name}"
        for template in [main, *templates]
        for name, step in template["steps"].items()
        if "approval" in step
    ]
    early = draw(st.integers(0, 5)) == 0
    return Play(
        templates=[main, *reversed(templates)],
        input=draw(INPUTS),
        nobody=frozenset({"ghost"}),
        signals=draw(st.lists(signals, max_size=3)),
        approvals={name: draw(st.lists(decisions, max_size=3)) for name in asked},
        env={"REGION": "eu"},
        cancel_after=draw(times) if early else CALM,
    )


INPUTS = st.fixed_dictionaries(
    {
        "n": st.integers(0, 3),
        "items": st.lists(st.sampled_from([0, "x", None, [1]]), max_size=3),
        "map": st.dictionaries(st.sampled_from(["p", "q", "r"]), st.integers(0, 2), max_size=2),
        "flag": st.booleans(),
    }
)
OUTPUTS = (1, 1, {"n": 2}, {"n": 2}, [1, 2], "x", None)
_WORDS = ("done",) * 9 + ("boom", "boom", "fatal", "rate_limited", "deaf", "silent")


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """What an agent does with one attempt."""
    word = draw(st.sampled_from(_WORDS))
    after = draw(st.sampled_from([1, 1, 3, 12])) * SECOND
    if word in ("done", "deaf"):
        output = draw(st.sampled_from(OUTPUTS))
        return Answer(output, deaf=word == "deaf", after=after)
    if word == "silent":
        return Answer(silent=True)
    wait = draw(st.sampled_from([1, 7])) if word == "rate_limited" else None
    return Answer(error=word, retry_after=wait, after=after)


def told_apart(key: Key, answer: Answer) -> Answer:
    """The same, at a moment at which nothing else happens."""
    return Answer(
        *(answer.output, answer.error, answer.retry_after, answer.silent, answer.deaf),
        after=answer.after + crc32(repr(key).encode()) % 999_983,
    )
