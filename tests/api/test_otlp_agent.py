"""An agent that OpenTelemetry instruments: its spans and logs stand in the session's trace."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from opscore.sdk import Agent, Task
from tests.api.conftest import KEY, ONE_STEP, Site

HEADERS = {"authorization": f"Bearer {KEY}"}
RESOURCE = Resource.create({"service.name": "echoer"})


@pytest.fixture
def tracing(site: Site) -> Iterator[TracerProvider]:
    provider = TracerProvider(resource=RESOURCE)
    exporter = OTLPSpanExporter(
        f"{site.url}/v1/traces", headers=HEADERS, compression=Compression.Gzip
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    yield provider
    provider.shutdown()


@pytest.fixture
def logging_to(site: Site) -> Iterator[LoggerProvider]:
    provider = LoggerProvider(resource=RESOURCE)
    exporter = OTLPLogExporter(f"{site.url}/v1/logs", headers=HEADERS)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    yield provider
    provider.shutdown()


async def test_spans_of_models_and_tools_stand_in_the_sessions_trace(
    site: Site, tracing: TracerProvider, logging_to: LoggerProvider
) -> None:
    agent = Agent("echoer", url=site.url, api_key=KEY)
    tracer = tracing.get_tracer("test")
    logger = logging.getLogger("echoer.work")
    logger.addHandler(LoggingHandler(logger_provider=logging_to))

    @agent.task("echo")
    async def echo(x: int, task: Task) -> int:
        above = TraceContextTextMapPropagator().extract({"traceparent": task.traceparent})
        with tracer.start_as_current_span("chat small", context=above) as chat:
            chat.set_attribute("gen_ai.usage.output_tokens", 42)
            with tracer.start_as_current_span("execute_tool grep"):
                logger.warning("found nothing in %s", "main.py")
        return x

    await site.call("POST", "/workflow", ONE_STEP)
    serving = asyncio.ensure_future(agent.serve())  # noqa: TID251 - the test ends it
    started = {"workflow": "one-step", "input": {"x": 1}}
    reply = await site.call("POST", "/session", started, headers={"Prefer": "wait=30"})
    session = reply.good
    assert session["status"] == "completed"
    for provider in (tracing, logging_to):
        assert await asyncio.to_thread(provider.force_flush)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    shown = (await site.call("GET", f"/session/{session['sessionId']}/trace")).good
    spans: dict[str, Any] = {one["name"]: one for one in shown["spans"]}
    work, chat, tool = (
        spans[name] for name in ("invoke_agent echoer", "chat small", "execute_tool grep")
    )
    assert (chat["parentId"], tool["parentId"]) == (work["spanId"], chat["spanId"])
    assert chat["attributes"]["gen_ai.usage.output_tokens"] == 42
    assert chat["attributes"]["service.name"] == "echoer"
    assert work["startAt"] <= chat["startAt"] <= tool["startAt"]
    query = f"/log?session={session['sessionId']}&q=found%20nothing"
    (record,) = (await site.call("GET", query)).good["records"]
    assert (record["level"], record["spanId"]) == ("warning", tool["spanId"])
    assert (record["agent"], record["operation"]) == ("echoer", "echoer.work")
