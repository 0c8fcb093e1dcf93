"""Many clients against two processes of the portal: kept connections, one signed call in flight each."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import connection

from core import clock
from gateway.auth import credential_of, signed_headers
from gateway.models import Gateway
from portal.management.commands.up import listen, web_command
from tests.gateway.together import AUTHORIZE

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One answer."""

    request_id: str
    status: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Web processes that share a port."""

    port: int
    processes: Sequence[subprocess.Popen[bytes]]


@contextmanager
def web_processes(count: int = 2) -> Iterator[Served]:
    """Serve the test's database from web processes, as `make run` does."""
    with listen(0) as listener:
        environment = os.environ | {"DATABASE_URL": url_of_this_database()}
        processes = [
            subprocess.Popen(web_command(listener), cwd=ROOT, env=environment, pass_fds=[listener.fileno()])
            for _ in range(count)
        ]
        try:
            yield Served(port=int(listener.getsockname()[1]), processes=processes)
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
            for process in processes:
                process.wait(20)


def url_of_this_database() -> str:
    """Return DATABASE_URL with the name of the database that the test uses."""
    name = connection.settings_dict["NAME"]
    return re.sub(r"(://[^/]*/)[^?]*", rf"\g<1>{name}", os.environ["DATABASE_URL"])


def swarm(*, port: int, gateway: Gateway, bodies: Sequence[dict[str, Any]], clients: int) -> list[Told]:
    """Send every body once, in order, over so many connections at once."""
    return asyncio.run(_swarm(port, gateway, iter(bodies), clients))


async def _swarm(port: int, gateway: Gateway, bodies: Iterator[dict[str, Any]], clients: int) -> list[Told]:
    told: list[Told] = []
    async with asyncio.timeout(START_SECONDS):
        await asyncio.gather(*(_client(port, gateway, bodies, told) for _ in range(clients)))
    return told


async def _client(port: int, gateway: Gateway, bodies: Iterator[dict[str, Any]], told: list[Told]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for body in bodies:
        raw = json.dumps(body).encode()
        at = clock.now().timestamp()
        headers = signed_headers(
            credential=credential_of(gateway), method="POST", target=AUTHORIZE, body=raw, now_seconds=at
        )
        lines = [f"POST {AUTHORIZE} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(raw)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + raw)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].partition("\r")[0])
        answer = json.loads(await reader.readexactly(length))
        told.append(Told(request_id=body["request_id"], status=int(head.split()[1]), body=answer))
    writer.close()
    await writer.wait_closed()
