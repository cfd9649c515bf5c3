"""OTLP, OpenTelemetry's protocol, over HTTP (opentelemetry.io/docs/specs/otlp, version 1.9).

What agents send is turned into records of ours; what we send is made from spans of ours. Only the
messages' own library is used: no SDK, no threads, nothing global.
"""
