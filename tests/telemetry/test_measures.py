"""Counting and timing: what is added is shown, and memory is bounded whatever the labels are."""

from __future__ import annotations

from opscore.telemetry import measures as m


def test_counters_add_up_by_their_labels() -> None:
    measures = m.Measures()
    measures.count(m.RETRIES, ("default", "read"))
    measures.count(m.RETRIES, ("default", "read"), by=2)
    measures.count(m.RETRIES, ("default", "write"))
    assert measures.counted(m.RETRIES) == {("default", "read"): 3, ("default", "write"): 1}


def test_a_counter_without_labels_begins_at_nothing() -> None:
    assert m.Measures().counted(m.COMMITS_FAILED) == {(): 0}
    assert m.Measures().counted(m.RETRIES) == {}


def test_an_observation_belongs_to_the_first_bucket_that_holds_it() -> None:
    found = m.Distribution((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        found.add(value, trace_id=f"trace-{value}", at=3.0)
    assert found.counts == [2, 1, 1]
    assert found.total == 7.65
    assert found.exemplars[0] == m.Exemplar("trace-0.05", 0.05, 3.0)
    found.add(0.02, trace_id="later", at=4.0)
    assert found.exemplars[0] == m.Exemplar("later", 0.02, 4.0)
    assert found.exemplars[2] == m.Exemplar("trace-7.0", 7.0, 3.0)


def test_invented_capabilities_are_counted_together_in_the_end() -> None:
    measures = m.Measures()
    for number in range(m.MOST_SERIES + 50):
        measures.count(m.RETRIES, ("tenant", f"capability-{number}"))
        measures.distribution(m.ATTEMPTS, ("tenant", f"capability-{number}", "failed")).add(1)
    counted = measures.counted(m.RETRIES)
    assert len(counted) == m.MOST_SERIES + 1
    assert counted["tenant", m.OTHER] == 50
    timed = measures.distributions(m.ATTEMPTS)
    assert sum(timed["tenant", m.OTHER, "failed"].counts) == 50


def test_names_follow_the_conventions() -> None:
    assert len({metric.name for metric in m.METRICS}) == len(m.METRICS)
    for metric in m.METRICS:
        assert metric.name.startswith("opscore_")
        assert not metric.name.endswith("_total"), "the format adds it"
        assert bool(metric.bounds) == (metric.kind == "histogram")
        assert not [label for label in metric.labels if label.endswith("id")]
