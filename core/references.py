"""Secrets that are referred to: "env:NAME" or "file:/path" is kept, the secret is read when it is needed.

Not every variable and file may be named: whoever enters a reference could otherwise have the password of the
database sent to an address of his own.
"""

import os
import re
from pathlib import Path

from django.conf import settings

ENVIRONMENT, FILE = "env:", "file:"
MOST_BYTES = 4_096
SECRET = re.compile(r"[!-~]{8,4096}")  # what can stand in a header


class SecretReferenceError(Exception):
    """The reference leads to no secret; the text says why and never holds one."""


def check_reference(reference: str) -> None:
    """Raise SecretReferenceError for a reference that is not allowed, whether or not anything is there."""
    if reference.startswith(ENVIRONMENT):
        _variable(reference)
    elif reference.startswith(FILE):
        _path(reference)
    else:
        raise SecretReferenceError("A reference begins with env: or file:.")


def read_secret(reference: str) -> str:
    """Return the secret, without the line end after it. Raises SecretReferenceError."""
    check_reference(reference)
    text = _of_environment(reference) if reference.startswith(ENVIRONMENT) else _of_file(reference)
    if not SECRET.fullmatch(text):
        raise SecretReferenceError(f"{reference} holds nothing that could be a key.")
    return text


def _of_environment(reference: str) -> str:
    name = _variable(reference)
    text = os.environ.get(name, "").strip()
    if not text:
        raise SecretReferenceError(f"The environment variable {name} is not set for the worker.")
    return text


def _of_file(reference: str) -> str:
    path = _path(reference)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SecretReferenceError(
            f"The file {path} cannot be read by the worker ({type(error).__name__})."
        ) from error
    return content.decode("ascii", errors="replace").strip()


def _variable(reference: str) -> str:
    name = reference.removeprefix(ENVIRONMENT)
    prefix = settings.CREDENTIAL_ENV_PREFIX
    if not re.fullmatch(rf"{prefix}[A-Z0-9_]+", name):
        raise SecretReferenceError(f"Only variables that begin with {prefix} may be named.")
    return name


def _path(reference: str) -> Path:
    """Return the real place of a file, links followed: a link out of the directory leads nowhere."""
    allowed = Path(settings.CREDENTIAL_DIRECTORY).resolve()
    path = Path(reference.removeprefix(FILE)).resolve()
    if not path.is_relative_to(allowed) or path == allowed:
        raise SecretReferenceError(f"Only files below {settings.CREDENTIAL_DIRECTORY} may be named.")
    return path
