"""What every act on a key needs: its lock, its place in the organisation, and who may act on it."""

from typing import Any

from core import audit
from core.errors import InvalidInputError
from core.locks import lock_first
from core.models import AuditEvent
from core.reasons import checked_reason
from keys.errors import KeyEndedError
from keys.models import ApiKey, KeyState
from teams.errors import RoleNeededError
from teams.models import Role, User
from teams.selectors import approvers_for, names_of, roles_of

MAX_REASON_CHARACTERS = 240
MAX_NAME_CHARACTERS = 80
ENDED = (KeyState.REVOKED, KeyState.EXPIRED)


def locked(key: ApiKey) -> ApiKey:
    """Return the key as it is now, locked to the end of the transaction; others may still refer to it."""
    keys = ApiKey.objects.select_related("project__team__department", "owner", "revoked_by")
    return lock_first(keys, key.pk)


def require_usable(key: ApiKey) -> None:
    """Refuse a key that has ended. Raises KeyEndedError saying how and when."""
    if key.state not in ENDED:
        return
    how = (
        f"was revoked on {key.revoked_at:%d %B %Y}: {key.revoked_reason}"
        if key.revoked_at
        else f"expired on {key.expires_at:%d %B %Y}"
    )
    raise KeyEndedError(f"The key {key.name} {how}. Its owner can issue or ask for a new one.")


def require_authority(actor: User, key: ApiKey) -> None:
    """Let the owner, the lead, the director and administrators act on a key. Raises RoleNeededError."""
    if actor.is_active and (actor.pk == key.owner_id or roles_of(actor).oversees(key.project.team)):
        return
    lead = names_of(approvers_for(Role.LEAD, key.project))
    raise RoleNeededError(f"Only {key.owner}, who owns this key, or {lead}, lead of the team, may do this.")


def require_oversight(actor: User, key: ApiKey) -> None:
    """Let the lead, the director and administrators act on a key, its owner only as one of them.

    Raises RoleNeededError.
    """
    if actor.is_active and roles_of(actor).oversees(key.project.team):
        return
    lead = names_of(approvers_for(Role.LEAD, key.project))
    raise RoleNeededError(f"Only {lead}, lead of the team, its director or an administrator may do this.")


def clean_reason(reason: str) -> str:
    """Return the reason without surrounding space. Raises InvalidInputError when it is empty or too long."""
    return checked_reason(reason, kept="it is kept with the key", most=MAX_REASON_CHARACTERS)


def clean_name(name: str) -> str:
    """Return the name of a key without surrounding space. Raises InvalidInputError: empty or too long."""
    text = name.strip()
    if not text or len(text) > MAX_NAME_CHARACTERS:
        raise InvalidInputError(
            f"Enter a name of up to {MAX_NAME_CHARACTERS} characters, such as where the key will be used.",
            field="name",
        )
    return text


def record(actor: User | None, action: str, subject: Any, key: ApiKey, **values: Any) -> AuditEvent:
    """Write the audit row of an act on a key, with its team and department."""
    team = key.project.team
    return audit.record(
        actor=actor,
        action=action,
        subject=subject,
        team_id=team.pk,
        department_id=team.department_id,
        **values,
    )
