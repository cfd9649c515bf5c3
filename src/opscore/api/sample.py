"""The definition that AgentKit's walk-through triggers; loaded in development mode."""

from __future__ import annotations

from typing import Any

SAMPLE: dict[str, Any] = {
    "id": "sample_workflow_id",
    "name": "Sample workflow",
    "version": "1.0",
    "tasks": [
        {
            "taskId": "task1",
            "name": "First task",
            "agentCapability": "test_capability",
            "parameters": {"param1": "value1"},
            "nextTaskId": "task2",
        },
        {
            "taskId": "task2",
            "name": "Second task",
            "agentCapability": "another_capability",
            "parameters": {"param2": "value2"},
        },
    ],
}
