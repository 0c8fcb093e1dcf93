"""An installation of its own: servers in a temporary directory, a database that one role owns and another
serves from. For tests that stop servers or sign in as other roles.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from portal.local import LocalServices, default_environment
from portal.local.state import local_secrets, socket_directory
from tests.portal.processes import descendants, seconds_until_gone

ROOT = Path(__file__).resolve().parents[1]
DATABASE, OWNER, APP = "books", "purser_owner", "purser_app"
PASSWORD = "of-a-test"


class Installation:
    """Servers and a migrated database. `environment` is that of its processes, which serve as purser_app."""

    def __init__(self, base_dir: Path) -> None:
        self.base_dir = base_dir
        self._services = LocalServices(base_dir)
        self._services.start()
        self._sockets = str(socket_directory(self._services.state))
        # The secrets are those of the test run, so that a test can sign as a gateway of this database.
        embedded = default_environment(base_dir)
        self.environment = {
            **embedded,
            **os.environ,
            "REDIS_URL": embedded["REDIS_URL"],
            "AUDIT_ANCHOR_DIR": str(base_dir / "anchors"),
            "DJANGO_SETTINGS_MODULE": "portal.settings",
            "DATABASE_URL": self.address(APP),
            "MIGRATE_DATABASE_URL": self.address(OWNER),
        }
        admin = local_secrets(base_dir / ".local" / "secrets.json")["POSTGRES_ADMIN_PASSWORD"]
        self._admin = self.address("postgres", password=admin, database="postgres")

    def address(self, role: str, *, password: str = PASSWORD, database: str = DATABASE) -> str:
        """Return the address of the database for a role."""
        return make_conninfo("", host=self._sockets, dbname=database, user=role, password=password)

    def make_database(self) -> None:
        """Make the two roles and a database of the owner's, migrate it and grant the rights."""
        for role in (OWNER, APP):
            self.administer(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        self.administer(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
        self.manage("migrate", "--verbosity", "0")
        self.manage("database_roles", "--apply")

    def manage(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of manage.py as the serving role."""
        return self.python("manage.py", *arguments, check=check)

    def python(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Python in the environment of this installation; its output is in the error when it fails."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done

    def query(self, statement: str, *, role: str = APP) -> list[tuple[Any, ...]]:
        """Run one statement as a role, commit, and return its rows."""
        with psycopg.connect(self.address(role), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def administer(self, statement: str) -> None:
        """Run one statement as the superuser."""
        with psycopg.connect(self._admin, autocommit=True) as admin:
            admin.execute(statement)

    def kill_postgres(self) -> None:
        """End PostgreSQL and all its processes in the middle of whatever they do."""
        postgres = self._services._servers["postgres"]
        below = descendants(postgres.pid)
        for process_id in (postgres.pid, *(number for number, _ in below)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        postgres.wait()
        seconds_until_gone(below)

    def restart(self) -> None:
        """Start the servers again, over the data that is there."""
        self._services.stop()
        self._services = LocalServices(self.base_dir)
        self._services.start()

    def close(self) -> None:
        """Stop the servers."""
        self._services.stop()


@contextlib.contextmanager
def installation(*, disk: Path | None = None) -> Iterator[Installation]:
    """Make an installation with a migrated database, in `disk` if given, and remove all of it at the end."""
    base_dir = Path(tempfile.mkdtemp(prefix="purser-installation-", dir=disk))
    base_dir.chmod(0o711)
    made = None
    try:
        made = Installation(base_dir)
        made.make_database()
        yield made
    finally:
        if made is not None:
            made.close()
        shutil.rmtree(base_dir, ignore_errors=True)
