"""Where the embedded services keep their state, and the environment that follows from it.

Layout under the project root::

    .local/secrets.json        0600, made once
    .local/services/           data, sockets, logs and locks of PostgreSQL and Valkey

Nothing here starts a process and nothing imports Django: settings.py calls `default_environment` while it
loads.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pwd
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

# A Unix socket path holds 107 bytes on Linux and 103 on macOS.
LONGEST_SOCKET_PATH = 100
# Fixed, not $TMPDIR: every shell has to find the same sockets, and $TMPDIR may itself be long.
SHORT_ROOT = Path("/tmp")  # noqa: S108 - the directory made below it is 0700 and its owner is verified
# Where root keeps the data when the project lies in a directory that the service user cannot enter, such as
# /root.
SYSTEM_STATE_ROOT = Path("/var/lib/purser")
# PostgreSQL refuses to run as root, so root runs the services as this user.
SERVICE_USER = "nobody"
DATABASE_NAME = DATABASE_ROLE = "purser"
APPLICATION_SECRETS = ("SECRET_KEY", "KEY_PEPPERS", "GATEWAY_ROOT_SECRET", "AUDIT_HMAC_KEY")


class LocalServicesError(RuntimeError):
    """The embedded services cannot be used; the text says what happened and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    """The user that the services run as; None stands for the user who starts them."""

    user_id: int
    group_id: int


def service_account() -> ServiceAccount | None:
    """Give the unprivileged account that root has to hand the services to, or None when not root."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        raise LocalServicesError(
            f"PostgreSQL does not run as root, and this machine has no user '{SERVICE_USER}' to run it as."
            " Start as another user, or set DATABASE_URL and REDIS_URL."
        ) from None
    return ServiceAccount(user_id=entry.pw_uid, group_id=entry.pw_gid)


def open_to_service_account(path: Path) -> bool:
    """Say whether another user may pass through `path` and every directory above it."""
    return all(directory.stat().st_mode & stat.S_IXOTH for directory in (path, *path.parents))


def socket_directory(state: Path) -> Path:
    """Give the directory of the sockets of `state`: inside it, or a short one when that path is too long."""
    inside = state / "sock"
    if len(os.fsencode(inside / ".s.PGSQL.5432")) <= LONGEST_SOCKET_PATH:
        return inside
    account = service_account()
    owner = account.user_id if account else os.geteuid()
    return SHORT_ROOT / f"purser-{owner}-{_digest(state)}"


def database_url(state: Path, password: str, *, database: str = DATABASE_NAME) -> str:
    """Give the connection URL of the embedded PostgreSQL, as libpq reads it."""
    directory = quote(str(socket_directory(state)))
    return f"postgresql://{DATABASE_ROLE}:{quote(password)}@/{database}?host={directory}"


def redis_url(state: Path, *, number: int = 0) -> str:
    """Give the URL of database `number` of the embedded Valkey, as redis-py reads it."""
    return f"unix://{quote(str(socket_directory(state) / 'vk.sock'))}?db={number}"


def default_environment(base_dir: Path) -> dict[str, str]:
    """Give the environment of the embedded services of the project at `base_dir`, without starting them.

    The secrets are made at the first call and kept, so that every later process agrees on them.
    Raises LocalServicesError when the state belongs to another user.
    """
    state = services_directory(base_dir)
    values = local_secrets(base_dir / ".local" / "secrets.json")
    services = {
        "DATABASE_URL": database_url(state, values["POSTGRES_PASSWORD"]),
        "REDIS_URL": redis_url(state),
        # One machine, for trying out: leads may sign in with a password alone.
        "MFA_REQUIRED": "false",
    }
    return {name: values[name] for name in APPLICATION_SECRETS} | services


def services_directory(base_dir: Path) -> Path:
    """Give the state directory of the project at `base_dir`, making it when it is missing.

    Root in a private directory (such as /root) gets a link to a directory of its own under /var/lib instead,
    because the service user could not enter the project and no directory of somebody else is opened for it.
    """
    path = base_dir.resolve() / ".local" / "services"
    try:
        if not path.parent.exists():
            _make_directory(path.parent, 0o755)
        if not path.exists():
            _make_services_directory(path)
    except PermissionError as error:
        raise LocalServicesError(_not_yours(path.parent)) from error
    return path.resolve()


def _make_services_directory(path: Path) -> None:
    if os.geteuid() != 0 or open_to_service_account(path.parent):
        _make_directory(path, 0o711)
        return
    target = path.resolve() if path.is_symlink() else SYSTEM_STATE_ROOT / _digest(path)
    if not target.parent.exists():
        _make_directory(target.parent, 0o755)
    _make_directory(target, 0o711)
    if not path.is_symlink():
        path.symlink_to(target)


def _make_directory(path: Path, mode: int) -> None:
    """Make one directory with this mode, whatever the umask takes away."""
    path.mkdir(exist_ok=True)
    path.chmod(mode)


def local_secrets(path: Path) -> dict[str, str]:
    """Read the secrets at `path`, adding those that are missing; one process writes at a time."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        raise LocalServicesError(_not_yours(path)) from error
    with os.fdopen(descriptor, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.fchmod(file.fileno(), 0o600)
        text = file.read()
        known: dict[str, str] = json.loads(text) if text else {}
        complete = {**_fresh_secrets(), **known}
        if complete != known:
            # Appended in place, not renamed: the lock belongs to this file. A reader waits for it.
            file.seek(0)
            file.write(json.dumps(complete, indent=2) + "\n")
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
    return complete


def _fresh_secrets() -> dict[str, str]:
    return {
        "SECRET_KEY": secrets.token_urlsafe(50),
        "KEY_PEPPERS": f"1:{secrets.token_hex(32)}",
        "GATEWAY_ROOT_SECRET": secrets.token_hex(32),
        "AUDIT_HMAC_KEY": secrets.token_hex(32),
        "POSTGRES_PASSWORD": secrets.token_urlsafe(24),
        "POSTGRES_ADMIN_PASSWORD": secrets.token_urlsafe(24),
    }


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:10]


def _not_yours(path: Path) -> str:
    return (
        f"{path} belongs to another user, so this one cannot use it. Run as the user who made it,"
        " or remove it (its database goes with it), or set DATABASE_URL, REDIS_URL and the secrets yourself."
    )
