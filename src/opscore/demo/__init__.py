"""The demo: a code-health report of a source tree."""
