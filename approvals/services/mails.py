"""What is told to whom. Rows of the outbox, written with the change; the key makes each message unique."""

from collections.abc import Iterable

from django.urls import reverse

from approvals.eligibility import who_can
from approvals.models import AccessRequest, BudgetRequest, Comment, PolicyProposal
from approvals.services.asking import model_names
from core import outbox
from core.money import format_usd
from core.words import counted
from keys.models import Grant
from teams.models import Role, RoleAssignment, User
from teams.selectors import approvers_for


def tell_approvers(request: AccessRequest, people: Iterable[User]) -> None:
    """Tell everybody who may decide the current stage, once a person, revision and stage.

    In the first stage of a later revision they were told before of what was asked then.
    """
    again = "Changed: " if request.revision > 1 and request.stage_index == 0 else ""
    models = ", ".join(model_names(request.model_ids)) or f"every model of {request.tier}"
    body = (
        f"{request.requester} asks for {request.tier} in project {request.project}: {models},"
        f" about {format_usd(request.expected_monthly_usd)} a month, for"
        f" {counted(request.duration_days, 'day')}.\n\n"
        f"{request.reason}\n\nDecide by {request.decide_by:%d %B %Y at %H:%M} UTC."
        " Opening the page decides nothing."
    )
    for person in people:
        _mail(
            request,
            person,
            event=f"waiting:{request.revision}:{request.stage_index}",
            subject=f"{again}{request.requester} asks for {request.tier} in {request.project}",
            body=body,
        )


def tell_informed(request: AccessRequest) -> None:
    """Tell the role that its policy tells of each request; those who decide it were told as such."""
    role = request.policy.told_role
    if not role:
        return
    able = set(who_can(request).values_list("pk", flat=True))
    veto = " You may deny it." if request.policy.told_may_veto else ""
    for person in approvers_for(Role(role), request.project):
        if person.pk not in able | request.askers:
            _mail(
                request,
                person,
                event=f"told:{request.revision}",
                subject=f"{request.requester} asks for {request.tier} in {request.project}",
                body=f"{request.reason}\n\nOthers decide it; this is for you to know.{veto}",
            )


def remind_approvers(request: AccessRequest, number: int, *, escalated: bool) -> None:
    """Tell everybody who may decide now that a request still waits, once a person, stage and reminder."""
    late = " It has waited longer than it should, so the next role may decide it too." if escalated else ""
    for person in who_can(request):
        _mail(
            request,
            person,
            event=f"reminder:{request.revision}:{request.stage_index}:{number}",
            subject=f"Still waiting: {request.requester} asks for {request.tier} in {request.project}",
            body=f"Decide by {request.decide_by:%d %B %Y at %H:%M} UTC.{late}",
        )


def tell_of_broken_glass(request: AccessRequest, grant: Grant) -> None:
    """Tell everybody who answers for the project, and the administrators, that the glass was broken."""
    people = {
        person.pk: person
        for role in (Role.LEAD, Role.DIRECTOR, Role.ADMIN, Role.FINANCE)
        for person in approvers_for(role, request.project)
    }
    for pk, person in sorted(people.items()):
        if pk not in request.askers:
            _mail(
                request,
                person,
                event="glass_broken",
                subject=f"{request.requester} broke the glass for {request.tier} in {request.project}",
                body=(
                    f"{request.reason}\n\nIt lasts until {grant.expires_at:%d %B %Y at %H:%M} UTC, up to"
                    f" {format_usd(grant.monthly_cap_usd)}. A review waits: without an approval it ends."
                ),
            )


def tell_of_proposal(proposal: PolicyProposal) -> None:
    """Tell the other administrators that a change of a policy waits for one of them."""
    admins = RoleAssignment.objects.live().filter(role=Role.ADMIN).values("user")
    others = User.objects.filter(pk__in=admins, is_active=True).exclude(pk=proposal.proposed_by_id)
    for person in others:
        outbox.put_mail(
            topic="policy.proposed",
            recipient=person.email,
            dedupe_key=f"policy_proposal:{proposal.public_id}:{person.public_id}",
            subject=f"{proposal.proposed_by} proposes a change of the {proposal.tier} policy",
            body=f"{proposal.reason}\n\nAnother administrator confirms it. Opening the page does nothing.",
            link=reverse("approvals:proposal", args=[proposal.public_id]),
        )


def tell_of_comment(comment: Comment, people: Iterable[User]) -> None:
    """Tell people what somebody said about a request, once a person and comment."""
    request = comment.request
    for person in people:
        _mail(
            request,
            person,
            event=f"comment:{comment.public_id}",
            subject=f"{comment.author} about {request}",
            body=comment.text,
        )


def tell_of_change_needed(request: AccessRequest, what: str) -> None:
    """Tell the requester that nobody can approve his request until he changes it, once a revision."""
    _mail(
        request,
        request.requester,
        event=f"change_needed:{request.revision}",
        subject=f"Change your request: {request}",
        body=f"{what} Until you change your request nobody can approve it.",
    )


def tell_of_change_eased(request: AccessRequest, why: str, lacks: str, *, rules: int) -> None:
    """Tell the requester that his request needs less than he was told, once a version of the `rules`."""
    still = f"It still needs {lacks}: until you change your request nobody can approve it."
    _mail(
        request,
        request.requester,
        event=f"change_eased:{rules}",
        subject=f"Your request needs {'less' if lacks else 'no change'}: {request}",
        body=f"{why} {still if lacks else 'It can be approved as it is.'}",
    )


def tell_requester(request: AccessRequest, *, subject: str, body: str) -> None:
    """Tell the requester how his request ended, once."""
    _mail(
        request,
        request.requester,
        event=request.status,
        subject=subject,
        body=body,
    )


def _mail(request: AccessRequest, person: User, *, event: str, subject: str, body: str) -> None:
    outbox.put_mail(
        topic=f"request.{event.split(':', maxsplit=1)[0]}",
        recipient=person.email,
        dedupe_key=f"request:{request.public_id}:{event}:{person.public_id}",
        subject=subject,
        body=body,
        link=reverse("approvals:detail", args=[request.public_id]),
    )


def mail_about_budget(request: BudgetRequest, person: User, *, event: str, subject: str, body: str) -> None:
    """Tell somebody about a request for more budget, once an event and person."""
    outbox.put_mail(
        topic=f"budget_increase.{event.split(':', maxsplit=1)[0]}",
        recipient=person.email,
        dedupe_key=f"budget_increase:{request.public_id}:{event}:{person.public_id}",
        subject=subject,
        body=body,
        link=reverse("approvals:budget_request", args=[request.public_id]),
    )
