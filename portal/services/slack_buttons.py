"""The buttons of messages in Slack: each is there while it can be pressed, and then its message says what
became of the request, wherever that was decided.
"""

from django.db import transaction
from django.urls import reverse

from approvals.models import AccessRequest, Decision
from approvals.services import how_it_ended
from core import outbox
from core.models import SlackButton
from core.slack import Place
from teams.models import User


def keep_button(
    *, person: User, request: AccessRequest, revision: int, subject: str, place: Place
) -> SlackButton:
    """Remember where a button is, so that it can be taken away."""
    return SlackButton.objects.create(
        person=person,
        request_id=request.public_id,
        revision=revision,
        stage_index=request.stage_index,
        channel=place.channel,
        ts=place.ts,
        subject=subject,
    )


def settle_buttons() -> int:
    """Put what became of their requests in the place of buttons that can not be pressed any more, and return
    how many there were. Without such buttons at most three queries.
    """
    buttons = list(SlackButton.objects.select_related("person").order_by("pk"))
    if not buttons:
        return 0
    ids = {button.request_id for button in buttons}
    requests = AccessRequest.objects.filter(public_id__in=ids).select_related("requester")
    known = {request.public_id: request for request in requests}
    heads = Decision.objects.filter(request__public_id__in=ids)
    counted = set(heads.values_list("request__public_id", "revision", "actor_id"))
    return sum(
        _settle(button, said)
        for button in buttons
        if (said := _became(known[button.request_id], button, counted))
    )


def settle_button(button: SlackButton) -> None:
    """Do the same for one button, at once."""
    request = AccessRequest.objects.select_related("requester").get(public_id=button.request_id)
    decisions = Decision.objects.filter(request=request)
    counted = {(request.public_id, *found) for found in decisions.values_list("revision", "actor_id")}
    if said := _became(request, button, counted):
        _settle(button, said)


def _became(request: AccessRequest, button: SlackButton, counted: set[tuple[str, int, int]]) -> str:
    """Say why nobody can press a button any more; empty while its person can."""
    if request.revision != button.revision:
        return "It was changed. What is asked now is in another message."
    if said := how_it_ended(request):
        return said
    if (request.public_id, request.revision, button.person_id) in counted:
        return "You decided it. It waits for somebody else."
    if request.stage_index != button.stage_index:
        return "It has this approval, and waits for the next one."
    return ""


@transaction.atomic
def _settle(button: SlackButton, said: str) -> int:
    mine = SlackButton.objects.select_for_update(no_key=True).order_by("pk").filter(pk=button.pk).first()
    if mine is None:
        return 0
    outbox.put_slack(
        topic="slack.outcome",
        recipient=button.person.email,
        dedupe_key=f"slack_button:{mine.pk}",
        subject=mine.subject,
        body=said,
        link=reverse("approvals:detail", args=[mine.request_id]),
        replaces={"channel": mine.channel, "ts": mine.ts},
    )
    mine.delete()
    return 1
