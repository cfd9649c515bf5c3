"""Log records on disk: every filter, in order, and what happens to a file that is not well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from opscore.core.errors import Unavailable
from opscore.core.logs import LEVELS, LogRecord, LogSearch, split_text
from opscore.core.received import ReceivedEvent, ReceivedSpan
from opscore.core.types import SECOND, Micros
from opscore.store.log_file import LogFile
from opscore.store.log_words import term

pytestmark = pytest.mark.sqlite

NOW: Micros = 1_700_000_000 * SECOND
ALL = LogSearch(("default",))
PLAIN = LogRecord(NOW, "info", "op", "default", "it happened")
FULL = replace(
    PLAIN,
    at=NOW + 5 * SECOND,
    level="error",
    operation="file.measured",
    message="Connection refused by the Übersetzer",
    agent_id="agt_1",
    agent="measurer",
    session_id="ses_1",
    task_id="ses_1-2",
    attempt=2,
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    span_id="00f067aa0ba902b7",
    error_type="timeout",
    error_code="E42",
    actor="agent:measurer",
    reported_at="2026-01-01T00:00:00Z",
    context={"file": "src/main.py", "line": 7, "ok": False, "deep": {"er": {"key": "x y"}}},
)


@pytest.fixture(params=["file", "memory"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogFile]:
    url = f"sqlite:///{tmp_path / 'ops.db'}" if request.param == "file" else "sqlite:///:memory:"
    found = LogFile(url, str(tmp_path))
    found.open(NOW)
    yield found
    found.close_writer()
    found.close_reader()


def found(file: LogFile, search: LogSearch = ALL, limit: int = 500) -> list[LogRecord]:
    return file.search(search, limit, newest_first=True)


def test_a_record_comes_back_as_it_went(file: LogFile) -> None:
    file.append([PLAIN, FULL])
    assert found(file) == [replace(FULL, log_id=2), replace(PLAIN, log_id=1)]


TEXTS = ("refused", "connection refused", "CONNECTION", "übersetz*", "e42", "timeout", "measured")
RIGHT: list[LogSearch] = [
    replace(ALL, agent="agt_1"),
    replace(ALL, agent="measurer"),
    replace(ALL, session_id="ses_1"),
    replace(ALL, task_id="ses_1-2"),
    replace(ALL, trace_id=FULL.trace_id),
    *(replace(ALL, level=level) for level in ("warning", "error")),
    replace(ALL, error_type="timeout"),
    *(replace(ALL, words=split_text(text)[0]) for text in TEXTS),
    *(
        replace(ALL, context=split_text(f"ctx.{pair}")[1])
        for pair in ("file:src/main.py", "line=7", "ok:false")
    ),
    replace(ALL, context=(("deep.er.key", "x y"), ("line", "7"))),
    replace(ALL, since=NOW + 1),
    replace(ALL, after=1),
]
WRONG = [
    replace(ALL, agent="agt_2"),
    replace(ALL, session_id="ses_1-2"),
    replace(ALL, task_id="ses_1"),
    replace(ALL, level="critical"),
    replace(ALL, error_type="error"),
    replace(ALL, words=("refused", "accepted")),
    replace(ALL, words=("refus",)),
    replace(ALL, context=(("line", "8"),)),
    replace(ALL, context=(("main.py", "file"),)),
    replace(ALL, agent="measurer", session_id="ses_2"),
    replace(ALL, since=NOW + 5 * SECOND + 1),
    replace(ALL, namespaces=("other",)),
]


@pytest.mark.parametrize("search", RIGHT, ids=repr)
def test_each_filter_finds_what_it_should_and_no_more(file: LogFile, search: LogSearch) -> None:
    file.append([PLAIN, FULL])
    assert [one.log_id for one in found(file, search)] == [2]
    assert file.count(search) == 1


@pytest.mark.parametrize("search", WRONG, ids=repr)
def test_what_does_not_fit_is_not_found(file: LogFile, search: LogSearch) -> None:
    file.append([PLAIN, FULL])
    assert found(file, search) == []


def test_levels_are_from_one_on(file: LogFile) -> None:
    file.append([replace(PLAIN, level=level) for level in LEVELS])
    counts = [len(found(file, replace(ALL, level=level))) for level in LEVELS]
    assert counts == [5, 4, 3, 2, 1]


def test_until_does_not_count_itself(file: LogFile) -> None:
    file.append([replace(PLAIN, at=NOW + second) for second in range(4)])
    within = replace(ALL, since=NOW + 1, until=NOW + 3)
    assert [one.at - NOW for one in found(file, within)] == [2, 1]
    assert found(file, replace(ALL, until=NOW)) == []


def test_pages_are_in_the_order_of_arrival(file: LogFile) -> None:
    file.append([PLAIN] * 5)
    assert [one.log_id for one in found(file, replace(ALL, before=4), 2)] == [3, 2]
    oldest = file.search(replace(ALL, after=1), 2, newest_first=False)
    assert [one.log_id for one in oldest] == [2, 3]
    assert (file.newest(), file.newest_but(ALL, 2), file.newest_but(ALL, 5)) == (5, 3, 0)


def test_no_text_of_an_agent_passes_for_a_key(file: LogFile) -> None:
    """Whoever knows how the index names a namespace must not write into that one's results."""
    stolen = f"{term('n', 'victim')} keys : {term('n', 'victim')}"
    keys = {"keys": stolen, stolen: stolen}
    file.append([replace(PLAIN, message=stolen, operation=stolen, agent=stolen, context=keys)])
    assert found(file, LogSearch(("victim",))) == []
    assert found(file, replace(ALL, words=(term("n", "victim"),)))


@pytest.mark.parametrize("text", ['"', "a OR b", "NEAR(a b)", "text:a", "a^b", "(", "-", "\x00a"])
def test_no_search_is_an_expression_of_the_index(file: LogFile, text: str) -> None:
    file.append([replace(PLAIN, message="nothing like it")])
    words, keys = split_text(text)
    assert found(file, replace(ALL, words=(*words, "neverthere"), context=keys)) == []


def test_ids_rise_with_times_even_when_the_clock_is_set_back(tmp_path: Path) -> None:
    file = LogFile(f"sqlite:///{tmp_path / 'ops.db'}", "")
    file.open(NOW)
    file.append([replace(PLAIN, at=NOW + 3600 * SECOND), replace(PLAIN, at=NOW)])
    file.close_writer()
    file.open(NOW)
    file.append([replace(PLAIN, at=NOW + 1)])
    records = file.search(ALL, 9, newest_first=False)
    assert [(one.log_id, one.at - NOW) for one in records] == [(1, 0), (2, 0), (3, 1)]
    file.close_writer()
    file.close_reader()


def test_what_is_old_or_too_much_is_forgotten_oldest_first(
    file: LogFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opscore.store.log_file.DELETED_AT_ONCE", 100)
    many = [replace(PLAIN, at=NOW + n, message=f"number{n}") for n in range(1000)]
    file.append(many)
    assert file.outdated(NOW + 150, 10**9) == (150, 0)
    assert [file.forget(NOW + 150, 10**9) for _ in range(3)] == [100, 50, 0]
    assert len(found(file, limit=2000)) == 850
    assert found(file, replace(ALL, words=("number149",))) == []
    assert found(file, replace(ALL, words=("number150",)))
    _, over = file.outdated(0, 50_000)
    assert over > 0
    while file.forget(0, 50_000):
        assert over > 0
    left = found(file, limit=2000)
    assert 0 <= len(left) < 850 and (not left or left[0].log_id == 1000)
    file.append([PLAIN])
    assert found(file, limit=1)[0].log_id == 1001  # an id is never given twice


def test_a_namespace_forgets_its_own(file: LogFile) -> None:
    file.append([PLAIN, replace(PLAIN, namespace="other"), replace(PLAIN, at=NOW + 9)])
    assert file.outdated(NOW + 5, 0, "default")[0] == 1
    assert [file.forget(NOW + 5, 10**9, "default") for _ in range(2)] == [1, 0]
    assert file.count(ALL) == file.count(LogSearch(("other",))) == 1


def test_a_long_context_is_cut(file: LogFile) -> None:
    file.append([replace(PLAIN, context={"text": "x" * 100_000})])
    (one,) = found(file)
    assert list(one.context) == ["cut"] and len(one.context["cut"]) < 10_000


Harm = Callable[[Path], object]


def overwritten(path: Path) -> None:
    path.write_bytes(b"this is no database at all" * 400)


def foreign(path: Path) -> None:
    path.unlink()
    connection = apsw.Connection(str(path))
    connection.execute("create table theirs (a)")
    connection.close()


@pytest.mark.parametrize("harm", [overwritten, foreign])
def test_a_damaged_file_is_told_and_a_new_one_taken_up(tmp_path: Path, harm: Harm) -> None:
    file = LogFile(f"sqlite:///{tmp_path / 'ops.db'}", "")
    path = tmp_path / "ops-logs.db"
    file.open(NOW)
    file.append([PLAIN])
    file.close_writer()
    file.close_reader()
    harm(path)
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"ops-logs\.db cannot be used.*by itself") as told:
            file.open(NOW)
        assert (told.value.status, told.value.code) == (503, "logs_unavailable")
        assert told.value.retry_after
    path.unlink()
    file.open(NOW)
    file.append([PLAIN])
    assert len(found(file)) == 1
    path.unlink()  # while it is open
    file.open(NOW)
    file.append([PLAIN])
    assert len(found(file)) == 1 and path.exists()
    file.close_writer()
    file.close_reader()


def test_a_full_disk_keeps_nothing_half(tmp_path: Path) -> None:
    file = LogFile(f"sqlite:///{tmp_path / 'ops.db'}", "")
    file.open(NOW)
    file.append([PLAIN])
    pages = file._writer.pragma("page_count")  # type: ignore[union-attr]
    file._writer.pragma("max_page_count", pages)  # type: ignore[union-attr]
    with pytest.raises(Unavailable, match="full"):
        file.append([replace(PLAIN, message=f"{n} " * 500) for n in range(500)])
    file.open(NOW)
    file.append([PLAIN])
    assert len(found(file)) == 2
    file.close_writer()
    file.close_reader()


SPAN = ReceivedSpan(
    *(NOW, "default", "a" * 32, "b" * 16, "c" * 16, "chat", NOW - 9, NOW - 5),
    *("error", "it broke", "writer", {"n": 1, "ok": True, "x": "ü\x00", "f": 0.5}),
    (ReceivedEvent("first", NOW - 7, {"token": 3}),),
)


def test_spans_come_back_as_they_went_by_trace_and_namespace(file: LogFile) -> None:
    later = replace(SPAN, span_id="d" * 16, parent_id=None, started_at=NOW, ended_at=NOW)
    theirs = replace(SPAN, namespace="other", name="theirs")
    file.append([], [later, SPAN, theirs, replace(SPAN, trace_id="e" * 32)])
    file.append([PLAIN], [replace(SPAN, name="again")])
    assert file.spans("default", "a" * 32, 10) == [SPAN, later]
    assert file.spans("default", "a" * 32, 1) == [SPAN]
    assert file.spans("other", "a" * 32, 10) == [theirs]
    assert len(found(file)) == 1


def test_spans_are_forgotten_by_age_by_size_and_by_namespace(file: LogFile) -> None:
    many = [replace(SPAN, at=NOW + n, span_id=f"{n:016x}") for n in range(10)]
    theirs = replace(SPAN, namespace="other")
    file.append([PLAIN, replace(PLAIN, at=NOW + 100)], [*many, theirs])
    assert file.outdated(NOW + 5, 2**40, "other") == (1, 0)
    assert file.outdated(NOW + 5, 2**40) == (1 + 5 + 1, 0)
    while file.forget(NOW + 5, 2**40, "other"):
        continue
    assert file.spans("other", "a" * 32, 10) == []
    assert len(file.spans("default", "a" * 32, 99)) == 10
    while file.forget(NOW + 5, 2**40):
        continue
    assert [one.at - NOW for one in file.spans("default", "a" * 32, 99)] == [5, 6, 7, 8, 9]
    assert len(found(file)) == 1
    while file.forget(0, 0):
        continue
    assert file.spans("default", "a" * 32, 99) == found(file) == []


def test_a_file_of_the_first_version_gets_the_table_of_spans(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ops.db'}"
    first = LogFile(url, "x")
    first.open(NOW)
    first.append([PLAIN])
    first.close_writer()
    assert first.location.path is not None
    connection = apsw.Connection(str(first.location.path))
    connection.execute("drop table spans; pragma user_version = 1")
    connection.close()
    again = LogFile(url, "x")
    again.open(NOW)
    again.append([], [SPAN])
    assert (again.spans("default", "a" * 32, 9), len(found(again))) == ([SPAN], 1)
    again.close_writer()
    again.close_reader()
