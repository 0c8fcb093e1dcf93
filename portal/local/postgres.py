"""The embedded PostgreSQL: makes its data directory, knows its command line and when it is ready."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from portal.local.binaries import POSTGRES_MAJOR, Programs
from portal.local.state import DATABASE_NAME, DATABASE_ROLE, LocalServicesError

# Modest memory and full durability: the ledger relies on fsync and synchronous_commit. `io_method=sync` saves
# the I/O worker processes, which a database of this size does not need; nothing here replicates.
DEFAULT_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "io_method": "sync",
    "max_logical_replication_workers": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "fsync": "on",
    "synchronous_commit": "on",
}
# SIGINT is PostgreSQL's "fast" shutdown: sessions are cut, everything is written, the next start needs no
# recovery.
STOP_SIGNAL = signal.SIGINT

# Runs a program as the service account to its end: command, then what it reads. Raises LocalServicesError.
Runner = Callable[[list[str | Path], IO[bytes] | None], None]


def command(
    programs: Programs, *, data: Path, sockets: Path, settings: Mapping[str, str]
) -> list[str | Path]:
    """Give the command line of the server."""
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    private = ["-c", "unix_socket_permissions=0700"]
    return [programs.postgres, "-D", data, "-k", sockets, *private, *options]


def is_ready(data: Path, process_id: int) -> bool:
    """Say whether this process accepts connections, from the file that it keeps for pg_ctl."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0] == str(process_id) and lines[7].startswith("ready")


def check_version(data: Path) -> None:
    """Refuse a data directory of another major version, which this server could not read."""
    found = (data / "PG_VERSION").read_text().strip()
    if found != str(POSTGRES_MAJOR):
        raise LocalServicesError(
            f"The database in {data} was made by PostgreSQL {found}, and this is PostgreSQL {POSTGRES_MAJOR}."
            " Dump it with the old version and load the dump, or move the directory away to start empty."
            " docs/operations.md has the steps."
        )


def make_cluster(
    programs: Programs,
    data: Path,
    *,
    run: Runner,
    own: Callable[[Path], None],
    passwords: Mapping[str, str],
    durable: bool,
) -> None:
    """Make the data directory, with the role and the database of the portal in it.

    The role is not a superuser: it owns its database and may make others (the tests do). Everything happens
    under another name first, so a directory named `data` is always complete.
    """
    unfinished = data.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    own(unfinished)
    with tempfile.NamedTemporaryFile(dir=data.parent, prefix="password-") as password_file:
        password_file.write(passwords["POSTGRES_ADMIN_PASSWORD"].encode())
        password_file.flush()
        own(Path(password_file.name))
        run(_initdb_command(programs, unfinished, password_file=password_file.name, durable=durable), None)
    with tempfile.TemporaryFile() as statements:
        statements.write(
            f"CREATE ROLE {DATABASE_ROLE} LOGIN CREATEDB PASSWORD '{passwords['POSTGRES_PASSWORD']}'\n"
            f"CREATE DATABASE {DATABASE_NAME} OWNER {DATABASE_ROLE}\n".encode()
        )
        statements.seek(0)
        run([programs.postgres, "--single", "-D", unfinished, "template1"], statements)
    unfinished.rename(data)


def _initdb_command(programs: Programs, data: Path, *, password_file: str, durable: bool) -> list[str | Path]:
    locale = ["--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    sign_in = ["--username=postgres", "--auth=scram-sha-256", f"--pwfile={password_file}"]
    return [programs.initdb, f"--pgdata={data}", *sign_in, *locale, *([] if durable else ["--no-sync"])]
