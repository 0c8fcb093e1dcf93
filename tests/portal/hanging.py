"""A Celery application with jobs that hang, for a worker of its own: `celery -A tests.portal.hanging`."""

from pathlib import Path
from threading import Event

from portal.celery import app
from portal.local import death_signal

__all__ = ["app"]

LIMIT_SECONDS = 2
ENDS_BY = death_signal()  # what the kernel sends this worker when its owner dies


@app.task(name="tests.hang", time_limit=LIMIT_SECONDS, soft_time_limit=1)
def hang(path: str) -> None:
    """Write down that it began, and never end."""
    with Path(path).open("a") as file:
        file.write(".")
    Event().wait()


@app.task(name="tests.work")
def work(path: str) -> None:
    """Write down that it was done, by a worker that ends with its owner."""
    Path(path).write_text(f"{ENDS_BY}")
