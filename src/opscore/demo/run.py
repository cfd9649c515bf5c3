"""`opscore demo`: a real job on real input, by a fleet of processes, through two kills."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import sysconfig
import tempfile
import time
import traceback
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opscore.demo.measure import DoesNotParse, measure_source
from opscore.demo.scan import python_files
from opscore.demo.screen import Screen, counted, shown
from opscore.demo.settings import LEASE_SECONDS, PAYLOAD_LIMIT

if TYPE_CHECKING:
    from opscore.demo.fleet import Fleet
    from opscore.demo.show import Job
    from opscore.demo.summary import Outcome

HERE = Path(__file__).parent
TEMPLATE = HERE / "code-health.yaml"
URGENT = HERE / "urgent.yaml"
USAGE = 2
FAILED = 1
SIGNALLED = 128
CANDIDATES = 50


def main(path: Path | None, keep: bool, as_json: bool) -> int:
    """Run the demo; 0 when every check holds, 1 when one does not, 2 for a bad path.

    128 plus the number of a signal that ended it. `keep`: leave server and agents running until a
    signal comes. `as_json`: one object on stdout at the end, all words on stderr.
    """
    screen = Screen(to_stderr=as_json)
    if sys.platform == "win32":
        screen.say("the demo stops and kills processes with POSIX signals; Windows has none", "red")
        return FAILED
    root = (path or Path(sysconfig.get_paths()["stdlib"])).resolve()
    screen.say(f"Ops-Core demo: the code health of {shown(root)}")
    try:
        files = python_files(root)
    except OSError as error:
        screen.say(f"cannot read {shown(root)}: {error.strerror}", "red")
        return USAGE
    if not files:
        screen.say(f"there is no Python file below {shown(root)}", "red")
        return USAGE
    # In its real spelling: macOS has /tmp as a link, and commands should show what is meant.
    directory = Path(tempfile.mkdtemp(prefix="opscore-demo-")).resolve()
    screen.say(f"{counted(len(files), 'Python file')}; everything is kept in {directory}")
    return _until_signal(Demo(screen, directory, root, files).run(keep, as_json))


def _until_signal(demo: Coroutine[Any, Any, int]) -> int:
    """Run it; SIGINT, SIGTERM and SIGHUP end it in order and give their exit codes."""
    received: list[int] = []

    async def guarded() -> int:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def end(number: signal.Signals) -> None:
            if not received:
                task.cancel()
            received.append(number)

        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(one, end, one)
        return await demo

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        return SIGNALLED + received[0]


class Demo:
    """One run on the Python files below `root`, kept in `directory`."""

    def __init__(self, screen: Screen, directory: Path, root: Path, files: list[str]) -> None:
        self._screen = screen
        self._directory = directory
        self._root = root
        self._files = files

    async def run(self, keep: bool, as_json: bool) -> int:
        """Set up, run, check, tell. No process is left when it ends, however it ends."""
        from opscore.demo.fleet import Fleet

        fleet = Fleet(self._directory)
        code: int | None = None
        try:
            async with fleet.client:
                code = await self._run(fleet, keep, as_json)
                if keep:
                    await asyncio.Event().wait()
        except asyncio.CancelledError:
            if code is None:
                raise
        except BaseExceptionGroup as group:
            self._give_up(next(_leaves(group)))
        except Exception as error:  # noqa: BLE001 -- told in full; the processes must be stopped
            self._give_up(error)
        finally:
            fleet.processes.stop()
            if code is None:
                self._screen.say("stopped; no process is left behind", "yellow")
        return FAILED if code is None else code

    def _give_up(self, error: BaseException) -> None:
        self._screen.say(f"the demo failed: {type(error).__name__}: {error}", "bold red")
        logs = self._directory / "logs"
        logs.mkdir(exist_ok=True)
        (logs / "demo.log").write_text("".join(traceback.format_exception(error)), "utf-8")
        self._screen.say(f"what the processes said is in {logs}")

    async def _run(self, fleet: Fleet, keep: bool, as_json: bool) -> int:
        from opscore.demo.audit import take_account
        from opscore.demo.program import program
        from opscore.demo.show import Show, read_ledger
        from opscore.demo.summary import Outcome

        await self._set_up(fleet)
        job = self._job()
        given = {"path": job.root, "report": job.report}
        began = time.monotonic()
        run = await fleet.client.start("code-health", given, context={"limited": job.limited})
        self._screen.say(f"session {run.id} started")
        show = Show(fleet, self._screen, job, run)
        self._screen.picture.title = f"code-health {run.id}"
        with self._screen.live():
            await show.watch()
        seconds = time.monotonic() - began
        book = await read_ledger(fleet, run.id)
        account = take_account(
            await fleet.asked(run.status), book, self._files, str(self._root), show.told
        )
        outcome = Outcome(
            account=account,
            told=show.told,
            seconds=seconds,
            total=self._screen.seconds,
            root=str(self._root),
            template=TEMPLATE,
            directory=self._directory,
            database_url=fleet.database_url,
            program=program(),
            serving=(fleet.url, fleet.api_key) if keep else None,
        )
        self._tell(outcome, as_json)
        return 0 if outcome.well else FAILED

    async def _set_up(self, fleet: Fleet) -> None:
        say = self._screen.say
        server = fleet.start_server()
        fleet.start_agents()
        await fleet.ready()
        say(
            f"server at {fleet.url} (pid {server.pid}, lease {LEASE_SECONDS:g} s, "
            f"payloads up to {PAYLOAD_LIMIT // 1024 // 1024} MiB)"
        )
        self._screen.picture.server = f"up pid {server.pid}"
        found = await fleet.connected()
        names = ", ".join(sorted(one.instance_id for one in found))
        say(f"{len(found)} agent processes connected: {names}")
        for file in (TEMPLATE, URGENT):
            made = await fleet.client.workflows.apply(file.read_bytes())
            say(f"template {made.name} {made.version} applied")

    def _job(self) -> Job:
        from opscore.demo.show import Job

        return Job(
            root=str(self._root),
            report=str(self._directory / "report.md"),
            # The last one: whatever is tried again goes behind all that waits already.
            limited=self._that_parses(self._files[::-1]),
            urgent=self._that_parses(self._files),
        )

    def _that_parses(self, files: list[str]) -> str:
        """The first file of some that parses, or none."""
        for file in files[:CANDIDATES]:
            try:
                measure_source((self._root / file).read_bytes())
            except (DoesNotParse, OSError):
                continue
            return file
        return ""

    def _tell(self, outcome: Outcome, as_json: bool) -> None:
        from opscore.demo import summary

        self._screen.lines(list(summary.last_screen(outcome)))
        if as_json:
            print(json.dumps(summary.as_json(outcome), indent=2))
            sys.stdout.flush()


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)  # pyright: ignore[reportUnknownArgumentType]
        else:
            yield error
