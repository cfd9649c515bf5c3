"""Threads for plain functions.

`concurrent.futures` joins its threads when the interpreter ends, so one stuck function would keep
a drained agent from leaving. These are daemon threads; they start when they are needed.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Threads:
    """At most `most` threads that run jobs in the order they came."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._jobs: deque[Callable[[], None]] = deque()
        self._idle = 0
        self._started = 0
        self._closed = False
        self._changed = threading.Condition()

    def submit(self, job: Callable[[], None]) -> None:
        """Run the job, which must not raise, as soon as a thread is free."""
        with self._changed:
            self._jobs.append(job)
            if len(self._jobs) > self._idle and self._started < self._most:
                self._started += 1
                threading.Thread(
                    target=self._work, name=f"{self._name}-{self._started}", daemon=True
                ).start()
            self._changed.notify()

    def close(self) -> None:
        """Let idle threads end; a running job is not waited for."""
        with self._changed:
            self._closed = True
            self._jobs.clear()
            self._changed.notify_all()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._jobs or self._closed)
            self._idle -= 1
            return self._jobs.popleft() if self._jobs else None
