"""Webhooks: added, changed, tested, given new secrets, switched off and on, removed; by administrators or by
failures.
"""

import re
from collections.abc import Sequence
from http.client import HTTPException
from typing import Any

from django.db import transaction

from core import audit, clock, outbound, outbox, webhooks
from core.errors import AlreadyDoneError, InvalidInputError, NotFoundError
from core.models import Outbox, Webhook
from core.outbound import NameNotFoundError, UnsafeAddressError
from core.outbox import RefusedError
from core.reasons import checked_reason
from teams.models import Role, RoleAssignment, User
from teams.selectors import require_admin

DISABLE_AFTER = 20  # failures in a row: about a day of one event, an hour of many
GONE = 410  # the receiver asks to be left alone
MAY = "manage webhooks"
MAX_TEXT = 240
MAX_URL, MAX_DESCRIPTION, MOST_ACTIONS = 500, 120, 50
ACTION = r"[a-z0-9_.]{1,64}"


class WebhookThereError(AlreadyDoneError):
    """The same address is told of the same for the same; `webhook` is its id. Its secret was shown."""

    code = "already_added"
    title = "Already added"


class SecretReplacedError(AlreadyDoneError):
    """Somebody made a new secret after the actor looked; it was shown to him."""

    code = "secret_replaced"
    title = "There is a new secret already"


@transaction.atomic
def add_webhook(*, actor: User, url: str, description: str, actions: Sequence[str]) -> Webhook:
    """Let an address be told of actions, of all when none is named.

    Raises RoleNeededError, InvalidInputError for an address that may not be called, and WebhookThereError for
    what is there already.
    """
    require_admin(actor, MAY)
    facts = _checked(url=url, description=description, actions=actions)
    User.objects.select_for_update(no_key=True).order_by("pk").get(pk=actor.pk)  # one at a time
    same = Webhook.objects.filter(**facts, removed_at__isnull=True).order_by("pk").first()
    if same is not None:
        raise WebhookThereError(
            "This address is told of this already. If its secret is lost, make a new one on its page.",
            webhook=same.public_id,
        )
    webhook = Webhook.objects.create(**facts, live_versions=[1], created_at=clock.now())
    audit.record(actor=actor, action="webhook.added", subject=webhook, after=facts)
    return webhook


@transaction.atomic
def change_webhook(
    *,
    actor: User,
    webhook: Webhook,
    url: str | None = None,
    description: str | None = None,
    actions: Sequence[str] | None = None,
) -> Webhook:
    """Change where a webhook goes, what it is for or what it hears; what is None stays. Its secrets stay.

    Raises RoleNeededError, and InvalidInputError as `add_webhook` does.
    """
    require_admin(actor, MAY)
    facts = _checked(url=None if url == webhook.url else url, description=description, actions=actions)
    mine = _locked(webhook)
    before = {name: getattr(mine, name) for name, value in facts.items() if getattr(mine, name) != value}
    if not before:
        return mine
    after = {name: facts[name] for name in before}
    for name, value in after.items():
        setattr(mine, name, value)
    if "url" in after:
        mine.failures = 0  # they were another receiver's
    mine.save(update_fields=[*after, "failures"])
    audit.record(actor=actor, action="webhook.changed", subject=mine, before=before, after=after)
    return mine


@transaction.atomic
def rotate_webhook_secret(*, actor: User, webhook: Webhook, newest_version: int | None = None) -> Webhook:
    """Make a new secret live beside the newest one; one before that is out at once.

    `newest_version` is the one that the actor saw. Raises SecretReplacedError when it is the newest no more.
    """
    require_admin(actor, MAY)
    mine = _locked(webhook)
    before = list(mine.live_versions)
    if newest_version is not None and newest_version != max(before):
        raise SecretReplacedError(
            "A new secret was made after you looked, and shown once. If it is lost, make another one.",
            newest_secret=max(before),
        )
    mine.live_versions = [max(before), max(before) + 1]
    mine.save(update_fields=["live_versions"])
    audit.record(
        actor=actor,
        action="webhook.secret_rotated",
        subject=mine,
        before={"live_versions": before},
        after={"live_versions": mine.live_versions},
    )
    return mine


@transaction.atomic
def end_previous_webhook_secret(*, actor: User, webhook: Webhook) -> Webhook:
    """Let only the newest secret sign from now on. Raises AlreadyDoneError when no other one does."""
    require_admin(actor, MAY)
    mine = _locked(webhook)
    before = list(mine.live_versions)
    if len(before) == 1:
        raise AlreadyDoneError("Only the newest secret is in use. Nothing needs to be done.")
    mine.live_versions = [max(before)]
    mine.save(update_fields=["live_versions"])
    audit.record(
        actor=actor,
        action="webhook.previous_secret_ended",
        subject=mine,
        before={"live_versions": before},
        after={"live_versions": mine.live_versions},
    )
    return mine


@transaction.atomic
def send_test_event(*, actor: User, webhook: Webhook) -> Outbox:
    """Queue an event of type `webhook.test`. Raises InvalidInputError for a webhook that is off."""
    require_admin(actor, MAY)
    mine = _locked(webhook)
    if mine.disabled_at is not None:
        raise InvalidInputError("This webhook is off. Switch it on first.")
    event = audit.record(actor=actor, action="webhook.tested", subject=mine)
    message = outbox.put_event(
        webhook_id=mine.public_id,
        topic="webhook.test",
        dedupe_key=f"{mine.public_id}:test:{event.public_id}",
        payload={"type": "webhook.test", "timestamp": event.at.isoformat(), "data": {"id": event.public_id}},
    )
    assert message is not None  # the event's id is new
    return message


@transaction.atomic
def disable_webhook(*, actor: User, webhook: Webhook, reason: str) -> Webhook:
    """Tell an address nothing more. Raises InvalidInputError without a reason, AlreadyDoneError when off."""
    require_admin(actor, MAY)
    text = checked_reason(reason, most=MAX_TEXT)
    mine = _locked(webhook)
    if mine.disabled_at is not None:
        raise AlreadyDoneError(f"This webhook is off already: {mine.disabled_reason}")
    _disable(mine, actor, text)
    return mine


@transaction.atomic
def enable_webhook(*, actor: User, webhook: Webhook) -> Webhook:
    """Tell an address again, of what is done from now on. Raises AlreadyDoneError when it is on."""
    require_admin(actor, MAY)
    mine = _locked(webhook)
    if mine.disabled_at is None:
        raise AlreadyDoneError("This webhook is on. Nothing needs to be done.")
    before = {"disabled_at": mine.disabled_at, "reason": mine.disabled_reason}
    mine.disabled_at, mine.disabled_reason, mine.failures = None, "", 0
    mine.save(update_fields=["disabled_at", "disabled_reason", "failures"])
    audit.record(
        actor=actor, action="webhook.enabled", subject=mine, before=before, after={"disabled_at": None}
    )
    return mine


@transaction.atomic
def remove_webhook(*, actor: User, webhook: Webhook, reason: str) -> Webhook:
    """Switch a webhook off for good; what it was told stays in the deliveries. Raises as disabling does."""
    require_admin(actor, MAY)
    text = checked_reason(reason, most=MAX_TEXT)
    mine = _locked(webhook)
    mine.removed_at = clock.now()
    if mine.disabled_at is None:
        mine.disabled_at, mine.disabled_reason = mine.removed_at, text
    mine.save(update_fields=["removed_at", "disabled_at", "disabled_reason"])
    audit.record(
        actor=actor,
        action="webhook.removed",
        subject=mine,
        before={"removed_at": None},
        after={"removed_at": mine.removed_at},
        reason=text,
    )
    return mine


def deliver_event(message: Outbox) -> None:
    """Send one event; the sender of the outbox, in the transaction that keeps what came of it.

    Raises RefusedError when there is nobody to tell any more, and OSError for any other failure. The last of
    DISABLE_AFTER failures in a row switches the webhook off and tells administrators.
    """
    webhook = Webhook.objects.filter(public_id=message.recipient).first()
    if webhook is None or webhook.disabled_at is not None:
        raise RefusedError("the webhook is off")
    try:
        answer = webhooks.send(webhook, message)
    except NameNotFoundError as error:
        _note_failure(webhook, str(error))
        raise OSError(str(error)) from error  # a name server that is down comes back
    except UnsafeAddressError as error:
        _note_failure(webhook, str(error))
        raise RefusedError(str(error)) from error
    except (OSError, HTTPException) as error:
        _note_failure(webhook, type(error).__name__)
        raise
    if 200 <= answer.status < 300:
        Webhook.objects.filter(pk=webhook.pk, failures__gt=0).update(failures=0)
        return
    _note_failure(webhook, f"status {answer.status}", at_once=answer.status == GONE)
    if answer.status == GONE:
        raise RefusedError("status 410: the receiver wants nothing more")
    raise OSError(f"status {answer.status}")


def _note_failure(webhook: Webhook, why: str, *, at_once: bool = False) -> None:
    mine = _locked(webhook)
    if mine.disabled_at is not None:
        return
    mine.failures += 1
    mine.save(update_fields=["failures"])
    if at_once or mine.failures >= DISABLE_AFTER:
        _disable(mine, None, f"{mine.failures} failures in a row, the last: {why}"[:MAX_TEXT])
        _mail_administrators(mine)


def _disable(webhook: Webhook, actor: User | None, reason: str) -> None:
    webhook.disabled_at, webhook.disabled_reason = clock.now(), reason
    webhook.save(update_fields=["disabled_at", "disabled_reason"])
    audit.record(
        actor=actor,
        action="webhook.disabled",
        subject=webhook,
        before={"disabled_at": None},
        after={"disabled_at": webhook.disabled_at, "failures": webhook.failures},
        reason=reason,
    )


def _mail_administrators(webhook: Webhook) -> None:
    administrators = RoleAssignment.objects.live().filter(role=Role.ADMIN).values("user")
    for person in User.objects.filter(pk__in=administrators, is_active=True):
        outbox.put_mail(
            topic="webhook.disabled",
            recipient=person.email,
            dedupe_key=f"webhook:{webhook.public_id}:{webhook.disabled_at:%Y%m%dT%H%M%S}:{person.public_id}",
            subject=f"The webhook {webhook} was switched off",
            body=f"It was told nothing more after {webhook.disabled_reason}.",
            link=f"/webhooks/{webhook.public_id}/",
        )


def _locked(webhook: Webhook) -> Webhook:
    rows = Webhook.objects.filter(removed_at__isnull=True)
    mine = rows.select_for_update(no_key=True).order_by("pk").filter(pk=webhook.pk).first()
    if mine is None:
        raise NotFoundError("This webhook was removed. Add another one.")
    return mine


def _checked(
    *, url: str | None = None, description: str | None = None, actions: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return what was given, as it is kept. Raises InvalidInputError naming the field."""
    facts: dict[str, Any] = {}
    if url is not None:
        facts["url"] = _callable(url)
    if description is not None:
        facts["description"] = _text(description, "description", MAX_DESCRIPTION)
    if actions is not None:
        facts["actions"] = _actions(actions)
    return facts


def _callable(url: str) -> str:
    if len(url) > MAX_URL:
        raise InvalidInputError(f"Use at most {MAX_URL} characters.", field="url")
    try:
        outbound.find_target(url)
    except UnsafeAddressError as error:
        raise InvalidInputError(f"This address cannot be called: {error}", field="url") from error
    return url


def _actions(actions: Sequence[str]) -> list[str]:
    wanted = list(dict.fromkeys(actions))
    if len(wanted) > MOST_ACTIONS or not all(re.fullmatch(ACTION, each) for each in wanted):
        raise InvalidInputError(
            f"Name up to {MOST_ACTIONS} actions such as `key.revoked`, or how they begin, such as `key.`.",
            field="actions",
        )
    return wanted


def _text(text: str, field: str, most: int) -> str:
    kept = text.strip()
    if not kept or len(kept) > most:
        raise InvalidInputError(f"Enter a {field} of up to {most} characters.", field=field)
    return kept
