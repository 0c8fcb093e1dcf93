"""Checks for a deployment: `manage.py check --deploy` says what an operator should change."""

from typing import Any

from django.core.checks import CheckMessage, Tags, Warning, register  # noqa: A004  Django's name for it
from django.db import DatabaseError, connection

from portal.roles import standing

HINT = "Serve as a role that owns nothing: docs/operations.md, Two database roles."


@register(Tags.security, deploy=True)
def serving_role_cannot_rewrite_history(**_options: Any) -> list[CheckMessage]:
    """Warn when the portal's own connection could change or delete what was recorded, or lacks a right."""
    try:
        found = standing(connection)
    except DatabaseError as error:
        return [Warning(f"The database could not be asked about its roles: {error}", id="purser.W004")]
    if found.owns:
        return [
            Warning(
                f"The role {found.role} serves and owns the tables ({len(found.owns)} of them), so it could"
                " switch off the guards of ledger, decisions and audit.",
                hint=HINT,
                id="purser.W001",
            )
        ]
    warnings: list[CheckMessage] = []
    if found.too_much:
        text = f"The role {found.role} may rewrite records: {', '.join(found.too_much)}."
        warnings.append(Warning(text, hint="Run `manage.py database_roles --apply`.", id="purser.W002"))
    if found.too_little:
        text = f"The role {found.role} lacks rights: {', '.join(found.too_little)}."
        warnings.append(Warning(text, hint="Run `manage.py database_roles --apply`.", id="purser.W003"))
    return warnings
