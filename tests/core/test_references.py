"""A reference leads to what may hold an admin key, and to nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from core.references import SecretReferenceError, check_reference, read_secret

SECRET = "sk-admin-0123456789"


@pytest.fixture
def folder(settings: Settings, tmp_path: Path) -> Path:
    settings.CREDENTIAL_DIRECTORY = str(tmp_path / "keys")
    (tmp_path / "keys").mkdir()
    (tmp_path / "outside").write_text(SECRET)
    return tmp_path / "keys"


def test_a_variable_of_the_prefix_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURSER_ADMIN_KEY_X", f"{SECRET}\n")
    assert read_secret("env:PURSER_ADMIN_KEY_X") == SECRET


def test_a_file_below_the_directory_is_read(folder: Path) -> None:
    (folder / "openai").write_text(f"{SECRET}\n")
    assert read_secret(f"file:{folder}/openai") == SECRET


@pytest.mark.parametrize(
    "reference",
    [
        "env:DATABASE_URL",
        "env:SECRET_KEY",
        "env:PURSER_ADMIN_KEY_",
        "env:PURSER_ADMIN_KEY_x",
        "env:XPURSER_ADMIN_KEY_X",
        "env:PURSER_ADMIN_KEY_X\nY",
        "file:/etc/passwd",
        "file:{folder}/../outside",
        "file:{folder}/link",
        "file:{folder}",
        "file:relative",
        "PURSER_ADMIN_KEY_X",
        "",
        "https://example.com/key",
    ],
)
def test_what_may_not_be_named_is_refused(folder: Path, reference: str) -> None:
    (folder / "link").symlink_to(folder.parent / "outside")
    with pytest.raises(SecretReferenceError):
        check_reference(reference.replace("{folder}", str(folder)))


@pytest.mark.parametrize(
    "content", ["", "short", "two words here", "x" * 5_000, "sk-ünicode-123", "a\nb" * 5]
)
def test_what_is_no_key_is_refused_without_being_shown(folder: Path, content: str) -> None:
    (folder / "openai").write_text(content)
    with pytest.raises(SecretReferenceError) as refused:
        read_secret(f"file:{folder}/openai")
    assert len(content) < 6 or content not in str(refused.value)


def test_what_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(SecretReferenceError, match="cannot be read by the worker"):
        read_secret(f"file:{folder}/none")
    with pytest.raises(SecretReferenceError, match="PURSER_ADMIN_KEY_NONE is not set"):
        read_secret("env:PURSER_ADMIN_KEY_NONE")
