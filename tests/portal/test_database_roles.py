"""The role that serves can do everything the portal does, and cannot rewrite a record."""

# ruff: noqa: S608 - the tables are named here

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.db import OperationalError, connection

from portal import ledger, roles
from portal.checks import serving_role_cannot_rewrite_history
from tests.installations import APP, OWNER, Installation, installation

HISTORY = (
    *("budgets_entry", "budgets_budgetlimit", "core_auditevent", "core_auditseal", "approvals_decision"),
    "usage_call",
)


@pytest.fixture(scope="module")
def served() -> Iterator[Installation]:
    """Give an installation in which purser_app has done everything that the portal does."""
    with installation() as made:
        made.manage("shell", "-c", "from tests.portal.app_story import tell; tell()")
        yield made


def test_every_record_was_written_by_the_serving_role(served: Installation) -> None:
    for table in (*HISTORY, "approvals_stage", "usage_gateway_call"):
        [(rows,)] = served.query(f"SELECT count(*) FROM {table}")
        assert rows > 0, table
    assert f"{len(ledger.RULES)} rules hold" in served.manage("ledger_verify").stdout


@pytest.mark.parametrize("table", [*HISTORY, "approvals_stage", "usage_gateway_call"])
def test_serving_role_cannot_change_or_delete_records(served: Installation, table: str) -> None:
    [(column,)] = served.query(
        f"SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum = 2"
    )
    for statement in (
        f"UPDATE {table} SET {column} = {column}",
        f"DELETE FROM {table}",
        f"TRUNCATE {table}",
        f"TRUNCATE {table} CASCADE",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
            served.query(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE budgets_entry DISABLE TRIGGER ALL",
        "ALTER TABLE budgets_entry DISABLE TRIGGER entry_is_append_only",
        "DROP TRIGGER entry_is_append_only ON budgets_entry",
        "ALTER TABLE budgets_entry OWNER TO purser_app",
        "DROP TABLE budgets_entry CASCADE",
        "ALTER TABLE budgets_balance DROP CONSTRAINT balance_never_holds_less_than_nothing",
        "CREATE OR REPLACE FUNCTION core_append_only() RETURNS trigger LANGUAGE sql AS ''",
        "SET session_replication_role = replica",
        "SET ROLE purser_owner",
        "GRANT UPDATE ON budgets_entry TO purser_app; UPDATE budgets_entry SET amount_usd = 0",
        "CREATE TABLE mine (id int)",
        "UPDATE usage_call_2031_01 SET cost_usd = 0",
        "UPDATE usage_event SET cost_usd = 0",
        "INSERT INTO usage_recounted_day VALUES ('2026-01-01', '2026-01-01', 'UTC', 0)",
        "DELETE FROM usage_event",
        "DELETE FROM teams_user",
        "DELETE FROM budgets_reservation",
        "DELETE FROM budgets_balance",
        "INSERT INTO django_migrations (app, name, applied) VALUES ('x', 'y', now())",
    ],
)
def test_serving_role_cannot_get_around_its_rights(served: Installation, statement: str) -> None:
    try:
        served.query(statement)
    except psycopg.errors.InsufficientPrivilege:
        return
    pytest.fail("it was allowed")


@pytest.mark.parametrize("table", ["budgets_reservation", "budgets_budget", "teams_project"])
def test_not_even_the_owner_deletes_what_entries_name(served: Installation, table: str) -> None:
    with pytest.raises(psycopg.errors.RestrictViolation, match="kept for the books"):
        served.query(f"DELETE FROM {table}", role=OWNER)


def test_owner_could_switch_the_guards_off_which_is_why_it_does_not_serve(served: Installation) -> None:
    with pytest.raises(psycopg.errors.RestrictViolation):
        served.query("UPDATE budgets_entry SET amount_usd = 0", role=OWNER)

    with psycopg.connect(served.address(OWNER)) as owner:
        owner.execute("ALTER TABLE budgets_entry DISABLE TRIGGER USER")
        assert owner.execute("UPDATE budgets_entry SET amount_usd = 0").rowcount > 0
        owner.rollback()


def test_grants_again_change_nothing(served: Installation) -> None:
    before = rights_now(served)

    served.manage("database_roles", "--apply")
    served.query(served.manage("database_roles").stdout, role=OWNER)

    assert rights_now(served) == before


def rights_now(served: Installation) -> list[tuple[object, ...]]:
    return served.query(
        "SELECT relname, relacl::text FROM pg_class WHERE relacl IS NOT NULL AND NOT relispartition"
        " UNION ALL SELECT proname, concat(proacl, prosecdef, proconfig) FROM pg_proc"
        " WHERE proname LIKE 'usage%' OR proname LIKE 'core%' ORDER BY 1"
    )


def test_grants_take_back_what_was_given_by_hand(served: Installation) -> None:
    served.query("GRANT UPDATE (amount_usd), TRUNCATE ON budgets_entry TO purser_app", role=OWNER)
    served.query("REVOKE INSERT ON core_outbox FROM purser_app", role=OWNER)
    warned = served.manage("check", "--deploy", "--tag", "security").stderr
    assert "may rewrite records: UPDATE on budgets_entry, TRUNCATE on budgets_entry" in warned
    assert "lacks rights: INSERT on core_outbox" in warned

    served.manage("database_roles", "--apply")

    assert "purser.W" not in served.manage("check", "--deploy", "--tag", "security").stderr


def test_missing_role_and_missing_owner_are_explained(served: Installation) -> None:
    missing = served.manage("database_roles", "--apply", "--app", "nobody_here", check=False)
    assert missing.returncode == 1
    assert "Make it: CREATE ROLE nobody_here LOGIN" in missing.stderr

    environment = served.environment
    served.environment = {**environment, "MIGRATE_DATABASE_URL": ""}
    alone = served.manage("database_roles", "--apply", check=False)
    served.environment = environment
    assert f"The role {APP} cannot grant these rights" in alone.stderr


@pytest.mark.django_db
def test_deploy_check_warns_when_the_owner_serves() -> None:
    [warning] = [found for found in run_checks(include_deployment_checks=True) if found.id == "purser.W001"]

    assert "serves and owns the tables" in warning.msg


@pytest.mark.django_db
def test_check_says_so_when_the_database_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with connection.execute_wrapper(_fail):
        [warning] = serving_role_cannot_rewrite_history()

    assert warning.id == "purser.W004"


def _fail(*_arguments: object) -> None:

    raise OperationalError("connection refused")


def test_every_table_that_is_named_exists() -> None:
    known = {model._meta.db_table for model in apps.get_models(include_auto_created=True)}
    assert (roles.RECORDS | roles.READ_ONLY | roles.PASSING) - known == {"django_migrations"}


@pytest.mark.django_db
def test_tables_guarded_as_append_only_are_records() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname LIKE '%\\_is\\_append\\_only'"
        )
        guarded = {table for (table,) in cursor.fetchall()}

    assert guarded
    assert guarded <= roles.RECORDS
