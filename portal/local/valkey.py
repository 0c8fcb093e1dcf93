"""The embedded Valkey: its command line, and when it is ready."""

from __future__ import annotations

import signal
import socket
from collections.abc import Mapping
from pathlib import Path

from portal.local.binaries import Programs

# It carries the queue and caches; PostgreSQL is the record. `noeviction`: a queue must refuse rather than
# forget.
DEFAULT_SETTINGS: Mapping[str, str] = {
    "port": "0",
    "databases": "64",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory": "128mb",
    "maxmemory-policy": "noeviction",
}
STOP_SIGNAL = signal.SIGTERM


def command(programs: Programs, *, data: Path, sockets: Path) -> list[str | Path]:
    """Give the command line of the server."""
    place: dict[str, str | Path] = {"dir": data, "unixsocket": sockets / "vk.sock", "unixsocketperm": "700"}
    settings = {**place, **DEFAULT_SETTINGS}
    return [programs.valkey, *(part for name, value in settings.items() for part in (f"--{name}", value))]


def is_ready(sockets: Path) -> bool:
    """Say whether the server answers PING with PONG: it has loaded its data and takes commands."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(str(sockets / "vk.sock"))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
