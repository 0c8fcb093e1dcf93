"""Slack accounts of people, what they are told there, and approvals that come from there.

An approval in Slack is `approvals.services.decide`, as on every page. It needs a linked account, the person's
own opt-in, and a Tier 2 request; everything else is decided on its page.
"""

import hashlib
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.urls import reverse

from approvals.models import AccessRequest, Verdict
from approvals.services import decide
from core import audit, clock, outbox, slack
from core.errors import AlreadyDoneError, DomainError, InvalidInputError, NotAllowedError, NotFoundError
from core.ids import new_id
from core.models import Outbox, Preference, SlackLink
from core.outbox import RefusedError
from teams.models import User

CODE_LIVES = timedelta(minutes=10)
DECIDABLE_TIER = 2
WAITING_TOPIC = "request.waiting"
COMMENT = "Approved in Slack."


@transaction.atomic
def start_slack_link(*, actor: User) -> str:
    """Return a new code: it links the account that sends it by `/purser link`. An older one is out."""
    User.objects.select_for_update(no_key=True).order_by("pk").get(pk=actor.pk)
    code = new_id("slk")
    SlackLink.objects.update_or_create(
        person=actor,
        defaults={
            "code_hash": _hash(code),
            "code_expires_at": clock.now() + CODE_LIVES,
            "slack_user": "",
            "confirmed_at": None,
        },
    )
    audit.record(actor=actor, action="slack.link_started", subject=actor)
    return code


@transaction.atomic
def confirm_slack_link(*, code: str, slack_user: str) -> SlackLink:
    """Link the account that sent a code; it works once. Raises InvalidInputError for one that is not live."""
    links = SlackLink.objects.select_related("person").select_for_update(no_key=True, of=("self",))
    link = links.order_by("pk").filter(code_hash=_hash(code), code_expires_at__gt=clock.now()).first()
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
    """Write one message to its person; the sender of the outbox. Raises RefusedError without an account."""
    link = _links().filter(person__email=message.recipient).first()
    if link is None:
        raise RefusedError("no Slack account is linked any more")
    content = slack.blocks(
        subject=message.payload["subject"],
        body=message.payload["body"],
        address=outbox.address(message.payload["link"]),
        approve=_approvable(message, link),
    )
    slack.post_message(slack_user=link.slack_user, subject=message.payload["subject"], content=content)


def approve_from_slack(*, slack_user: str, public_id: str, seen_revision: int, call_id: str) -> None:
    """Count an approval that somebody pressed in Slack, and tell him there what came of it, once a call."""
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
    return asked


def _approvable(message: Outbox, link: SlackLink) -> str:
    """Return what the button of a message approves: the request and the revision it is now, or nothing."""
    if message.topic != WAITING_TOPIC:
        return ""
    public_id = message.payload["link"].rstrip("/").rpartition("/")[2]
    try:
        asked = _decidable(link, public_id)
    except DomainError:
        return ""
    # What the text says is a revision of its own: after an amendment the old message offers no button.
    told = message.dedupe_key.split(":")[3:4]
    return f"{asked.public_id}:{asked.revision}" if told == [str(asked.revision)] else ""


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


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
