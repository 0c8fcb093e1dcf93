"""LiteLLM's own Python environment under `.local/gateway/venv`, apart from the portal's, installed once from
locked pins.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

VERSION = "1.106.2"
REQUIREMENTS = Path(__file__).parent / "plugins" / "litellm" / "requirements.txt"
STAMP = ".installed"
# All that LiteLLM may inherit: not DATABASE_URL, which it would take for its own, nor the portal's secrets.
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "GATEWAY_REDIS_URL")
INHERITED_PREFIXES = ("LC_", "SSL_CERT_", "OPENAI_", "ANTHROPIC_", "GEMINI_")


class GatewayEnvironmentError(Exception):
    """LiteLLM's environment cannot be made; the message says what is missing."""


def ensure_environment(directory: Path, *, say: Callable[[str], None]) -> Path:
    """Return the environment's `bin`, installed first if its pins are new (one minute, 720 MB). Raises
    GatewayEnvironmentError.

    Two processes may ask at once: the second waits for the first.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory = directory.resolve()
    with _lock(directory.with_suffix(".lock")):
        if not _is_installed(directory):
            say(f"Installing LiteLLM {VERSION} into {directory} (once, about a minute, 720 MB).")
            _run([sys.executable, "-m", "venv", "--clear", str(directory)], say)
            pip = [str(directory / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"]
            # Nothing is left to resolve: pip would look at newer releases, and refuse those without a hash.
            # Most of it is never imported, and what is gets compiled at the first start.
            locked = ["--require-hashes", "--no-deps", "--no-compile", "--progress-bar", "off"]
            locked += ["-r", str(REQUIREMENTS)]
            _run([*pip, *locked], say)
            (directory / STAMP).write_text(_fingerprint(directory))
            say("Installed.")
    return directory / "bin"


def process_environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a LiteLLM process: its own variables and the few that it may inherit."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in INHERITED or name.startswith(INHERITED_PREFIXES)
    }
    return {**inherited, "PYTHONUNBUFFERED": "1", **own}


def _is_installed(directory: Path) -> bool:
    stamp = directory / STAMP
    return stamp.exists() and stamp.read_text() == _fingerprint(directory)


def _fingerprint(directory: Path) -> str:
    """Return what an environment is known by: its pins, and its place, which its programs name."""
    return hashlib.sha256(REQUIREMENTS.read_bytes() + bytes(directory)).hexdigest()


def _run(command: list[str], say: Callable[[str], None]) -> None:
    """Run an installer and pass on what it is doing; its last words are the error."""
    last: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:  # noqa: S603  our own commands
        for line in process.stdout or ():
            last = [*last[-14:], line.rstrip()]
            if line.startswith(("Collecting ", "Installing ")):
                say(f"  {line.strip()[:100]}")
    if process.returncode:
        raise GatewayEnvironmentError(f"{' '.join(command[:4])} … failed:\n" + "\n".join(last))


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
