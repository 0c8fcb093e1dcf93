"""Where the embedded services keep things, and the environment that every command finds."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.local import LocalServicesError, binaries, default_environment, services, state
from portal.local.locks import DirectoryLock
from tests.portal.owners import needs_root


@pytest.fixture
def private_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_environment_is_made_once_and_stays(project_directory: Path) -> None:
    first = default_environment(project_directory)
    assert default_environment(project_directory) == first
    assert set(first) == {
        "AUDIT_HMAC_KEY",
        "DATABASE_URL",
        "GATEWAY_ROOT_SECRET",
        "KEY_PEPPERS",
        "MFA_REQUIRED",
        "REDIS_URL",
        "SECRET_KEY",
    }
    secrets_file = project_directory / ".local/secrets.json"
    assert stat.S_IMODE(secrets_file.stat().st_mode) == 0o600


def test_secret_that_a_newer_version_needs_is_added_to_the_old_ones(project_directory: Path) -> None:
    path = project_directory / "secrets.json"
    path.write_text('{"SECRET_KEY": "old"}')
    complete = state.local_secrets(path)
    assert complete["SECRET_KEY"] == "old"
    assert len(complete["AUDIT_HMAC_KEY"]) == 64
    assert state.local_secrets(path) == complete


@needs_root
def test_private_umask_does_not_lock_the_service_user_out(
    project_directory: Path, private_umask: None
) -> None:
    directory = state.services_directory(project_directory)
    assert directory == project_directory / ".local/services"
    assert state.open_to_service_account(directory)


@needs_root
def test_root_in_a_private_directory_keeps_the_data_under_var_lib(
    project_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = project_directory / "var-lib-purser"
    monkeypatch.setattr(state, "SYSTEM_STATE_ROOT", elsewhere)
    private = project_directory / "home"
    private.mkdir(mode=0o700)

    directory = state.services_directory(private)

    assert directory.parent == elsewhere
    assert state.open_to_service_account(directory)
    assert (private / ".local/services").readlink() == directory
    assert state.services_directory(private) == directory
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_url_quotes_a_path_with_odd_characters(project_directory: Path) -> None:
    odd = project_directory / "a b?c"
    odd.mkdir()
    url = default_environment(odd)["DATABASE_URL"]
    assert url.endswith("/a%20b%3Fc/.local/services/sock")


def test_lock_names_its_holder_and_is_free_again_after_release(project_directory: Path) -> None:
    lock = DirectoryLock(project_directory / "lock")
    other = DirectoryLock(project_directory / "lock")
    assert lock.acquire()
    assert not other.acquire()
    assert f"process {os.getpid()} (" in other.holder()
    lock.release()
    assert other.acquire()


@pytest.mark.parametrize(("version", "used"), [("18.9", True), ("15.18", False), ("19beta1.0", False)])
def test_system_program_is_used_when_its_major_version_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, used: bool
) -> None:
    for name in ("postgres", "initdb"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version} (Debian {version}-1)'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = binaries.find_programs(tmp_path / "state", for_other_user=False)
    assert (found.postgres == tmp_path / "postgres") is used
    assert found.initdb.exists()


def test_missing_wheel_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(LocalServicesError, match=r"pip install -r requirements\.txt.*DATABASE_URL"):
        binaries.find_programs(tmp_path, for_other_user=False)


def test_large_log_becomes_the_previous_log(project_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "LOG_LIMIT_BYTES", 100)
    local = services.LocalServices(project_directory)
    log = local.log_of("valkey")
    log.write_text("x" * 101)
    local._open_log("valkey").close()
    assert log.read_text() == ""
    assert log.with_suffix(".log.1").stat().st_size == 101
