"""Slack accounts of people, what they are told there, and approvals that come from there.

An approval in Slack is `approvals.services.decide`, as on every page. It needs a linked account, the person's
own opt-in, a Tier 2 request and, as on every page, the second factor of whoever holds a role or was lent one:
the account must have been linked with it. Everything else is decided on its page.
"""

import hashlib
import hmac
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.urls import reverse

from approvals.models import AccessRequest, Verdict
from approvals.services import decide
from core import audit, clock, outbox, slack
from core.errors import AlreadyDoneError, DomainError, InvalidInputError, NotAllowedError, NotFoundError
from core.locks import lock_all_first
from core.models import Outbox, Preference, SlackButton, SlackLink
from core.outbox import RefusedError
from core.slack import Place
from portal.factors import SecondFactorMissingError, lacks_factor_in_slack
from portal.services.slack_buttons import keep_button, settle_button
from teams.models import User

CODE_LIVES = timedelta(minutes=10)
CODE_CHARACTERS = 32  # of hexadecimal: 128 bits
DECIDABLE_TIER = 2
WAITING_TOPIC = "request.waiting"
COMMENT = "Approved in Slack."


@transaction.atomic
def start_slack_link(*, actor: User, with_second_factor: bool = False) -> str:
    """Return the code that links the account that sends it by `/purser link`: the one that is live, or a new
    one. Asking again makes no second code, unless from a sign-in that showed more or less than the first.
    """
    User.objects.select_for_update(no_key=True).order_by("pk").get(pk=actor.pk)
    now = clock.now()
    live = SlackLink.objects.filter(
        person=actor, code_expires_at__gt=now, with_second_factor=with_second_factor
    ).first()
    if live is not None and live.code_expires_at is not None:
        return _code(actor, live.code_expires_at)
    ends_at = now + CODE_LIVES
    code = _code(actor, ends_at)
    SlackLink.objects.update_or_create(
        person=actor,
        defaults={
            "code_hash": _hash(code),
            "code_expires_at": ends_at,
            "slack_user": "",
            "confirmed_at": None,
            "with_second_factor": with_second_factor,
        },
    )
    audit.record(actor=actor, action="slack.link_started", subject=actor)
    return code


@transaction.atomic
def confirm_slack_link(*, code: str, slack_user: str) -> SlackLink:
    """Link the account that sent a code; it works once. Raises InvalidInputError for one that is not live."""
    live = SlackLink.objects.filter(code_hash=_hash(code), code_expires_at__gt=clock.now())
    link = next(iter(lock_all_first(live.select_related("person"))), None)
    if link is None or not link.person.is_active:
        raise InvalidInputError("This code is not known, or its ten minutes are over. Make a new one.")
    link.slack_user, link.confirmed_at = slack_user, clock.now()
    link.code_hash, link.code_expires_at = "", None
    try:
        with transaction.atomic():
            link.save()
    except IntegrityError as error:
        raise AlreadyDoneError("This Slack account is linked to another person. Unlink it there.") from error
    audit.record(
        actor=link.person, action="slack.linked", subject=link.person, after={"slack_user": slack_user}
    )
    return link


@transaction.atomic
def end_slack_link(*, actor: User) -> None:
    """Forget a person's account. Raises AlreadyDoneError when there is none."""
    link = SlackLink.objects.select_for_update(no_key=True).order_by("pk").filter(person=actor).first()
    if link is None or not link.slack_user:
        raise AlreadyDoneError("No Slack account is linked. Nothing needs to be done.")
    before = {"slack_user": link.slack_user}
    link.slack_user, link.confirmed_at, link.code_hash, link.code_expires_at = "", None, "", None
    link.save()
    audit.record(actor=actor, action="slack.unlinked", subject=actor, before=before, after={"slack_user": ""})


def send_slack(message: Outbox) -> None:
    """Write one message to its person, or in the place of another one; the sender of the outbox. Raises
    RefusedError without an account.
    """
    subject = message.payload["subject"]
    if replaces := message.payload.get("replaces"):
        slack.replace_message(Place(**replaces), subject=subject, content=_content(message))
        return
    link = _links().filter(person__email=message.recipient).first()
    if link is None:
        raise RefusedError("no Slack account is linked any more")
    asked = _approvable(message, link)
    value = f"{asked.public_id}:{asked.revision}" if asked else ""
    content = _content(message, approve=value)
    place = slack.post_message(slack_user=link.slack_user, subject=subject, content=content)
    if asked and place:
        keep_button(person=link.person, request=asked, revision=asked.revision, subject=subject, place=place)


def approve_from_slack(
    *, slack_user: str, public_id: str, seen_revision: int, call_id: str, place: Place | None = None
) -> None:
    """Count an approval that somebody pressed in Slack, and tell him there what came of it, once a call.

    The button that was pressed, at `place`, goes with the request.
    """
    link = _links().filter(slack_user=slack_user).first()
    if link is None:
        return  # whoever it is, there is nobody to tell
    try:
        asked = _decidable(link, public_id)
        decide(
            actor=link.person,
            request=asked,
            verdict=Verdict.APPROVE,
            seen_revision=seen_revision,
            comment=COMMENT,
        )
    except DomainError as error:
        _answer(link, call_id, subject=error.title, body=error.detail, public_id=public_id)
    else:
        _answer(link, call_id, subject="You approved it", body=str(asked), public_id=public_id)
    if place:
        _settle_pressed(link, public_id, seen_revision, place)


def _links() -> QuerySet[SlackLink]:
    return SlackLink.objects.select_related("person").filter(
        confirmed_at__isnull=False, person__is_active=True
    )


def _decidable(link: SlackLink, public_id: str) -> AccessRequest:
    asked = AccessRequest.objects.visible_to(link.person).filter(public_id=public_id).first()
    if asked is None:
        raise NotFoundError("There is no such request, or it is not one of yours.")
    if asked.tier_id != DECIDABLE_TIER:
        raise NotAllowedError("Only Tier 2 requests are approved in Slack. Open the page to decide this one.")
    if not Preference.objects.filter(person=link.person, slack_decides=True).exists():
        raise NotAllowedError("You have not allowed yourself to approve in Slack. See your notifications.")
    if lacks_factor_in_slack(link):
        raise SecondFactorMissingError(
            "Whoever decides needs a second factor. Sign in to the portal with one, then link your Slack"
            " account again on the page Notifications."
        )
    return asked


def _settle_pressed(link: SlackLink, public_id: str, seen_revision: int, place: Place) -> None:
    """Take the pressed button away, also one that was never remembered: its message was sent by a worker that
    was killed then.
    """
    asked = AccessRequest.objects.visible_to(link.person).filter(public_id=public_id).first()
    if asked is None:
        return
    button = SlackButton.objects.filter(channel=place.channel, ts=place.ts).first()
    settle_button(
        button
        or keep_button(
            person=link.person, request=asked, revision=seen_revision, subject=str(asked), place=place
        )
    )


def _content(message: Outbox, *, approve: str = "") -> list[dict[str, Any]]:
    return slack.blocks(
        subject=message.payload["subject"],
        body=message.payload["body"],
        address=outbox.address(message.payload["link"]),
        approve=approve,
    )


def _approvable(message: Outbox, link: SlackLink) -> AccessRequest | None:
    """Return the request that the button of a message approves, if it may have one."""
    if message.topic != WAITING_TOPIC:
        return None
    public_id = message.payload["link"].rstrip("/").rpartition("/")[2]
    try:
        asked = _decidable(link, public_id)
    except DomainError:
        return None
    # What the text says is a revision of its own: after an amendment the old message offers no button.
    told = message.dedupe_key.split(":")[3:4]
    return asked if told == [str(asked.revision)] else None


@transaction.atomic
def _answer(link: SlackLink, call_id: str, *, subject: str, body: str, public_id: str) -> None:
    outbox.put_slack(
        topic="slack.answer",
        recipient=link.person.email,
        dedupe_key=f"slack:{hashlib.sha256(call_id.encode()).hexdigest()}",
        subject=subject,
        body=body,
        link=reverse("approvals:detail", args=[public_id]),
    )


def _code(person: User, ends_at: datetime) -> str:
    """Return a person's code, made anew each time it is asked for: the database holds its hash alone."""
    said = f"slack_link:{person.public_id}:{ends_at.isoformat()}".encode()
    return f"slk_{hmac.digest(settings.GATEWAY_ROOT_SECRET, said, 'sha256').hex()[:CODE_CHARACTERS]}"


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
