"""The import contracts of pyproject.toml see what they forbid: each is broken once, in a copy."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.house.source import APPS, PROJECT

LINT = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
# The file that gets one more line, the line, and the contract that has to notice.
PLANTED = [
    ("teams/models.py", "import usage.models", "apps"),
    ("approvals/models/requests.py", "import gateway.models", "apps"),
    ("keys/selectors.py", "import keys.services", "modules"),
    ("approvals/apps.py", "import teams.forms", "entry-points"),
    ("core/ids.py", "import tests.conftest", "tests"),
    ("portal/local/locks.py", "import django.conf", "apart-from-django"),
    ("core/money.py", "import django.db", "pure"),
]


def test_contracts_are_kept_here_and_broken_by_planted_imports(tmp_path: Path) -> None:
    project = copied_project(tmp_path)
    assert "0 broken" in lint(project)

    for path, line, contract in PLANTED:
        file = project / path
        text = file.read_text()
        file.write_text(f"{text}\n{line}\n")
        assert "1 broken" in lint(project, "--contract", contract), (path, line)
        file.write_text(text)


def copied_project(target: Path) -> Path:
    """Copy what the contracts read. The planted lines need the modules they name, so those are added."""
    for folder in (*APPS, "tests"):
        shutil.copytree(PROJECT / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", target)
    for path, line, _ in PLANTED:
        for file in (target / path, target / f"{line.removeprefix('import ').replace('.', '/')}.py"):
            if file.parent.is_dir() and not file.with_suffix("").is_dir():
                file.touch()
    return target


def lint(project: Path, *options: str) -> str:
    command = [*LINT, "--no-cache", "--no-logo", *options]
    result = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr
