"""What a load is and what it did. The client itself is a process of its own, `bench/generator.py`, so that it
shares no interpreter with whoever measures.

Imports the standard library alone: the generator starts with it.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

FILL_SHARE = 0.2
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Who signs, and the keys whose calls it asks about, one after the other."""

    public_id: str
    secret: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One load: so many keep-alive connections, each with one call in flight, until `seconds` have passed or
    `most` calls were made. Unless it ends sooner, a fifth of `seconds` goes before, to fill the queues.

    `get` sends GET to `path`; the others send signed authorisations there, built before the clock starts.
    `pairs` settles each on its own connection before the next; `delivered` has so many `hosts` beside the
    connections, which settle as the plugin of LiteLLM does: a host sends what has gathered in 0.2 seconds,
    500 at most, and the next when that is answered. Every authorisation is sent `copies` times with the
    same body, each signed anew. `records` keeps what was acknowledged.
    """

    port: int
    path: str
    kind: Literal["get", "authorize", "pairs", "delivered"]
    connections: int
    seconds: float
    most: int
    gateway: Gateway | None = None
    model: str = "large"
    input_bytes: int = 1000
    max_output_tokens: int | None = 100
    copies: int = 1
    hosts: int = 0
    records: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a load did: `done` calls (pairs count once) were answered with 200 in `seconds`.

    `statuses` counts the answers before them too; `allowed` and `settled` are the reservations of every 200,
    those after the time was over too.
    """

    seconds: float
    done: int
    statuses: dict[str, int]
    median_seconds: float
    cpu_share: float
    samples: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return self.done / self.seconds

    def expect_only(self, *answers: str) -> None:
        """Raise when something else than these answers, such as "authorize 200", came back."""
        if not set(self.statuses) <= set(answers):
            raise RuntimeError(f"unexpected answers: {self.statuses}, for example {self.samples[:1]}")


def run(job: Job) -> Seen:
    """Run one load in a process of its own."""
    return start(job).seen()


@dataclass(slots=True)
class Running:
    """A load that is going on."""

    process: subprocess.Popen[str]

    def seen(self) -> Seen:
        """Wait for its end."""
        output, _ = self.process.communicate()
        if self.process.returncode:
            raise RuntimeError(f"the load generator failed with status {self.process.returncode}")
        return Seen(**json.loads(output))


def start(job: Job) -> Running:
    """Start one load beside others."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.generator"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(job)) + "\n")
    process.stdin.flush()
    return Running(process)


def shared(keys: Sequence[str], parts: int) -> list[tuple[str, ...]]:
    """Deal keys out to so many loads."""
    return [tuple(keys[part::parts]) for part in range(parts)]
