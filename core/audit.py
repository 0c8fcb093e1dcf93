"""Records who did what, when and why, in the transaction of the change itself."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol

from django.db import transaction
from django.db.models import QuerySet

from core import clock, events
from core.models import AuditEvent


class Actor(Protocol):
    """Whoever can be named in the audit: a person of `teams`, or None for the system itself."""

    pk: Any

    @property
    def label(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an act came from, as far as the edge knows."""

    request_id: str = ""
    ip_address: str | None = None
    api_token: str = ""


_NOWHERE = Origin()
_origin: ContextVar[Origin] = ContextVar("audit_origin", default=_NOWHERE)


@contextmanager
def origin(*, request_id: str, ip_address: str | None) -> Iterator[None]:
    """Say where the acts inside the block come from; the edge (middleware, task) calls this."""
    token = _origin.set(Origin(request_id=request_id, ip_address=ip_address))
    try:
        yield
    finally:
        _origin.reset(token)


def name_token(public_id: str) -> None:
    """Say with which API token the acts that follow in this request are done; `origin` takes it back."""
    _origin.set(replace(_origin.get(), api_token=public_id))


def record(
    *,
    actor: Actor | None,
    action: str,
    subject: Any,
    label: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
    department_id: int | None = None,
    team_id: int | None = None,
    on_behalf_of: Actor | None = None,
    policy_version: int | None = None,
) -> AuditEvent:
    """Write one audit row about `subject` (a model with `public_id`), called `label` where its own words say
    too little, under a version of a policy if any, and tell the webhooks that listen.

    Raises RuntimeError outside a transaction: an act and its record are committed together or not at all.
    """
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("audit.record() must run in the transaction of the change it describes")
    here = _origin.get()
    event = AuditEvent.objects.create(
        at=clock.now(),
        action=action,
        actor_id=actor.pk if actor else None,
        actor_label=actor.label if actor else "purser",
        on_behalf_of_id=on_behalf_of.pk if on_behalf_of else None,
        object_type=_type_of(subject),
        object_id=subject.public_id,
        object_label=(label or str(subject))[:254],
        department_id=department_id,
        team_id=team_id,
        before=_plain(before or {}),
        after=_plain(after or {}),
        reason=reason,
        policy_version=policy_version,
        request_id=here.request_id,
        ip_address=here.ip_address,
        api_token=here.api_token,
    )
    events.tell(event)
    return event


def about(subject: Any) -> QuerySet[AuditEvent]:
    """Return the events about one thing, the oldest first."""
    return AuditEvent.objects.filter(object_type=_type_of(subject), object_id=subject.public_id).order_by(
        "pk"
    )


def _type_of(subject: Any) -> str:
    return str(subject._meta.label_lower)  # noqa: SLF001  Django's public name for it


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain_value(value) for name, value in values.items()}


def _plain_value(value: Any) -> Any:
    match value:
        case Decimal():
            return f"{value:f}"
        case datetime() | date():
            return value.isoformat()
        case None | bool() | int() | str():
            return value
        case list() | tuple():
            return [_plain_value(item) for item in value]
        case _:
            return getattr(value, "public_id", None) or str(value)
