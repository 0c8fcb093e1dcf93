"""Ends jobs that hang. Celery ends a job over its time limit where each has a process of its own; a thread
cannot be ended, so here it takes its worker with it.

The worker starts anew in its own place, under the same process number and command line: whoever supervises it
sees nothing. Jobs may be cut off anywhere and find their work by looking at tables, so none is lost.
"""

import os
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import structlog
from celery import Celery
from celery.signals import task_postrun, task_prerun, worker_ready

from portal.local import death_signal, end_with_parent

log = structlog.get_logger(__name__)

LOOK_EVERY_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A job that a thread is at, and when it is over its limit, on the monotonic clock."""

    job: str
    ends_at: float


class HungJobs:
    """The jobs of this process by the thread that does them; each thread does one at a time."""

    def __init__(self, app: "Celery[Any]") -> None:
        self._app = app
        self._running: dict[int, Running] = {}

    def watch(self) -> None:
        """Note what begins and ends from now on, and look for what hangs once the worker is ready."""
        task_prerun.connect(self._begins, weak=False)
        task_postrun.connect(self._ends, weak=False)
        worker_ready.connect(self._look, weak=False)

    def hung(self) -> list[str]:
        """Return the names of jobs that are over their limit."""
        now = time.monotonic()
        return [each.job for each in list(self._running.values()) if each.ends_at < now]

    def _begins(self, *, task: Any, **_: Any) -> None:
        limit_seconds = task.time_limit or self._app.conf.task_time_limit
        self._running[threading.get_ident()] = Running(
            job=task.name, ends_at=time.monotonic() + limit_seconds
        )

    def _ends(self, **_: Any) -> None:
        self._running.pop(threading.get_ident(), None)

    def _look(self, **_: Any) -> None:
        number = death_signal()  # of the main thread, which this is
        threading.Thread(
            target=self._start_anew_when_hung, args=[number], name="hung-jobs", daemon=True
        ).start()

    def _start_anew_when_hung(self, on_parent_death: int) -> None:
        while not (jobs := self.hung()):
            time.sleep(LOOK_EVERY_SECONDS)
        log.error("job.hung", jobs=jobs)
        end_with_parent(on_parent_death)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  its own command line
