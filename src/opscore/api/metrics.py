"""`GET /metrics`: the figures of this server in Prometheus' text format or OpenMetrics'."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from opscore import __version__
from opscore.api.answer import Answer
from opscore.api.call import Call
from opscore.api.route import Reply, Routes
from opscore.telemetry import measures as m

routes = Routes("metrics", base="")


@routes.plain("GET", "/metrics", "session:read", {200: bytes})
async def metrics(call: Call) -> Reply:
    """Read the figures of this server and of the work of the key's namespace."""
    engine = call.engine
    reading = {
        **await engine.gauges(call.namespace),
        m.FEED_FOLLOWERS: {(): float(engine.feed.followers)},
        m.FEED_DROPPED: {(): float(engine.feed.drops)},
        m.LOGS_DROPPED: {(): float(engine.logs.state.dropped)},
        m.COMMITS_FAILED: {(): float(engine.commits_failed)},
        m.BUILD: {(__version__, platform.python_version()): 1.0},
    }
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Shown(engine.measures, reading, call.namespace))
    encode, media_type = choose_encoder(call.header(b"accept") or "")
    return Answer(200, encode(registry), media_type.encode())


class Shown(Collector):
    """The figures that one namespace may see, as Prometheus' library wants them."""

    def __init__(
        self,
        measures: m.Measures,
        reading: Mapping[m.Metric, Mapping[m.Labels, float]],
        namespace: str,
    ) -> None:
        self._measures = measures
        self._reading = reading
        self._namespace = namespace

    def collect(self) -> Iterator[Family]:
        """Every metric, also those without a value so far."""
        for metric in m.METRICS:
            if metric.kind == "histogram":
                yield self._histogram(metric)
            else:
                yield self._numbers(metric)

    def _numbers(self, metric: m.Metric) -> Family:
        kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        family = kind(metric.name, metric.help, labels=metric.labels)
        found = self._reading.get(metric)
        series = self._measures.counted(metric) if found is None else found
        for labels in self._visible(metric, series):
            family.add_metric(labels, series[labels])
        return family

    def _histogram(self, metric: m.Metric) -> Family:
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        series = self._measures.distributions(metric)
        for labels in self._visible(metric, series):
            found = series[labels]
            family.add_metric(labels, list(_buckets(found)), found.total)
        return family

    def _visible(self, metric: m.Metric, series: Iterable[m.Labels]) -> list[m.Labels]:
        """Figures of work carry their namespace first; those of the server have none."""
        own = "namespace" in metric.labels
        return sorted(labels for labels in series if not own or labels[0] == self._namespace)


def _buckets(
    found: m.Distribution,
) -> Iterator[tuple[str, float] | tuple[str, float, Exemplar]]:
    """Cumulative, as the format wants them."""
    count = 0
    for bucket, (bound, here) in enumerate(zip((*found.bounds, None), found.counts, strict=True)):
        count += here
        example = found.exemplars.get(bucket)
        name = "+Inf" if bound is None else str(float(bound))
        if example is None:
            yield name, count
        else:
            trace = {"trace_id": example.trace_id}
            yield name, count, Exemplar(trace, example.value, example.at)
