"""Two database roles: one owns and migrates the tables, the other serves and cannot rewrite history.

Triggers guard the books against everybody's mistakes. They do not stop the owner of a table, who can switch
them off; so whatever serves should own nothing, and should have no right to change or delete a record.
"""

from dataclasses import dataclass

from django.apps import apps
from django.db.backends.base.base import BaseDatabaseWrapper

APP_ROLE = "purser_app"
EVERY_RIGHT = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")

# Written once: the ledger and its limits, decisions, the audit, and usage as it came.
RECORDS = frozenset(
    {
        "approvals_budgetcomment",
        "approvals_comment",
        "approvals_decision",
        "approvals_grantreview",
        "approvals_stage",
        "budgets_budgetalert",
        "budgets_budgetlimit",
        "budgets_entry",
        "core_auditevent",
        "core_auditseal",
        "core_deliveryattempt",
        "teams_formername",
        "usage_attribution",
        "usage_call",
        "usage_event",
        "usage_gateway_call",
        "usage_ledger_correction",
        "usage_period_figure",
        "usage_retired_month",
        "usage_source",
        "usage_spendwarning",
    }
)
# Filled by `migrate` or by functions that run as their owner, and only read by whoever serves.
READ_ONLY = frozenset(
    {
        "auth_group",
        "auth_group_permissions",
        "auth_permission",
        "django_content_type",
        "django_migrations",
        "socialaccount_socialapp",
        "teams_user_groups",
        "teams_user_user_permissions",
        "usage_recounted_day",
    }
)
# What comes and goes. Everything else is closed, archived or revoked, and never deleted.
PASSING = frozenset(
    {
        "account_emailaddress",
        "account_emailconfirmation",
        "budgets_entrysum",
        "core_idempotentcall",
        "core_slackbutton",
        "django_session",
        "gateway_standing",
        "gateway_standing_change",
        "gateway_used_nonce",
        "mfa_authenticator",
        "socialaccount_socialaccount",
        "socialaccount_socialtoken",
        "teams_directorygroup",
        "teams_directorygroup_members",
        "usage_folded",
        "usage_hour",
        "usage_importcursor",
        "usage_key_hour",
        "usage_key_minute",
        "usage_pace",
        "usage_project_day",
        "usersessions_usersession",
    }
)
# These run as their owner. The first and the third make and drop tables; their arguments are dates, from
# which they make the names, and the third drops nothing that is young, or whose days the second did not
# recount. The fourth keeps writers of the audit out for a moment, which only who may change its rows can. The
# last deletes messages that ended more than a month ago, nothing else.
AS_OWNER = (
    "usage_make_partitions(date, date)",
    "usage_recount_day(date, date, text)",
    "usage_retire_month(date, text)",
    "core_audit_horizon()",
    "core_forget_messages(timestamptz, int)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRights:
    """What the role of a connection is and may do, compared with what it should."""

    role: str
    owns: tuple[str, ...]
    too_much: tuple[str, ...]
    too_little: tuple[str, ...]


def tables() -> list[str]:
    """Return every table that the portal uses."""
    models = apps.get_models(include_auto_created=True)
    return sorted({model._meta.db_table for model in models} | {"django_migrations"})  # noqa: SLF001  public


def rights(table: str) -> tuple[str, ...]:
    """Return what the serving role may do with a table."""
    if table in RECORDS:
        return ("SELECT", "INSERT")
    if table in READ_ONLY:
        return ("SELECT",)
    if table in PASSING:
        return ("SELECT", "INSERT", "UPDATE", "DELETE")
    return ("SELECT", "INSERT", "UPDATE")


def grants(connection: BaseDatabaseWrapper, *, app_role: str) -> list[str]:
    """Return the statements that give a role exactly its rights; running them again changes nothing."""
    name, schema = connection.ops.quote_name(app_role), _schema(connection)
    by_rights: dict[tuple[str, ...], list[str]] = {}
    for table in tables():
        by_rights.setdefault(rights(table), []).append(connection.ops.quote_name(table))
    return [
        f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC, {name}",
        f"GRANT USAGE ON SCHEMA {schema} TO {name}",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC, {name}",
        *(f"GRANT {', '.join(may)} ON {', '.join(which)} TO {name}" for may, which in by_rights.items()),
        *(
            statement
            for function in AS_OWNER
            for statement in (
                f"ALTER FUNCTION {function} SECURITY DEFINER SET search_path = {schema}, pg_temp",
                f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC",
                f"GRANT EXECUTE ON FUNCTION {function} TO {name}",
            )
        ),
    ]


def rights_of_role(connection: BaseDatabaseWrapper) -> RoleRights:
    """Return what the connection's role owns, may do too much of, and cannot do although it should."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT current_user::text, c.relname::text, pg_has_role(current_user, c.relowner, 'MEMBER'),
                   ARRAY(SELECT may FROM unnest(%s::text[]) AS may
                         WHERE has_table_privilege(current_user, c.oid, may)
                            OR may IN ('SELECT', 'INSERT', 'UPDATE')
                               AND has_any_column_privilege(current_user, c.oid, may))
            FROM pg_class c WHERE c.relname = ANY (%s) AND c.relnamespace = current_schema()::regnamespace
            ORDER BY c.relname
            """,
            [list(EVERY_RIGHT), tables()],
        )
        rows = cursor.fetchall()
    return RoleRights(
        role=rows[0][0] if rows else "",
        owns=tuple(table for _, table, owns, _ in rows if owns),
        too_much=tuple(
            f"{right} on {table}"
            for _, table, _, may in rows
            if table in RECORDS
            for right in may
            if right not in rights(table)
        ),
        too_little=tuple(
            f"{right} on {table}" for _, table, _, may in rows for right in rights(table) if right not in may
        ),
    )


def _schema(connection: BaseDatabaseWrapper) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        return connection.ops.quote_name(cursor.fetchone()[0])
