"""The requester changes what he asked for, asks for more time, or breaks the glass."""

from collections.abc import Sized

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from approvals import facts, selectors, services
from approvals.errors import AlreadyAskedError
from approvals.forms.changing import AmendForm, BreakGlassForm, ExtendForm
from approvals.models import AccessRequest, Policy, RequestStatus
from approvals.services.asking import model_names, policy_for
from approvals.services.withdrawing import require_requester
from approvals.views.forms import FormPage, add_error, form_page
from approvals.views.reading import detail_url
from core.errors import AlreadyDoneError, DomainError, GoneError, InvalidInputError, NotFoundError, StaleError
from core.money import format_usd
from keys.models import Grant
from teams.models import Project
from teams.types import PersonRequest

OVER = (AlreadyDoneError, GoneError)


@require_http_methods(["GET", "HEAD", "POST"])
def amend_request(request: PersonRequest, public_id: str) -> HttpResponse:
    """Change a pending request of one's own: a new revision, for everybody to decide anew."""
    asked = selectors.find(request.user, public_id)
    require_requester(request.user, asked)
    if asked.state is not RequestStatus.PENDING:
        messages.error(request, "This request is over. Ask again instead.")
        return redirect(detail_url(asked))
    form = AmendForm(
        request.POST or None, initial=_as_asked(asked), terms=policy_for(asked.tier), prices=_prices(asked)
    )
    page = FormPage(
        title=f"Change the request {asked}",
        text="Whoever approved it before has to look again, and the time to decide starts anew.",
        url=reverse("approvals:amend", args=[public_id]),
        submit_text="Change the request",
        cancel_url=detail_url(asked),
    )
    if request.method != "POST" or not form.is_valid():
        return form_page(request, page, form)
    values = form.cleaned_data
    try:
        services.amend(actor=request.user, request=asked, model_names=values.pop("models", []), **values)
    except InvalidInputError as error:
        add_error(form, error)
        return form_page(request, page, form)
    except StaleError as error:
        return form_page(request, page, form, refusal=error)
    except OVER as error:
        return _over(request, asked, error)
    messages.success(request, "Your request is changed. Whoever decides it was told.")
    return redirect(detail_url(asked))


@require_http_methods(["GET", "HEAD", "POST"])
def extend_access(request: PersonRequest, public_id: str) -> HttpResponse:
    """Ask that one's own grant goes on where it ends."""
    rows = Grant.objects.select_related("tier", "key__project")
    grant = rows.filter(public_id=public_id, key__owner=request.user).first()
    if grant is None:
        raise NotFoundError("There is no such access, or it is not yours.")
    terms = policy_for(grant.tier)
    form = ExtendForm(request.POST or None, terms=terms, grant=grant)
    page = FormPage(
        title=f"Ask for more time for {grant.tier} in {grant.key.project}",
        text="It goes on without a gap where it ends, with the same models. Somebody decides before it ends.",
        facts=(
            ("Key", grant.key.name),
            ("Access ends", f"{grant.expires_at:%-d %B %Y, %H:%M} UTC"),
            ("Monthly cap", format_usd(grant.monthly_cap_usd)),
        ),
        url=reverse("approvals:extend", args=[public_id]),
        submit_text="Ask for more time",
        cancel_url=reverse("keys:list"),
    )
    if request.method != "POST" or not form.is_valid():
        return form_page(request, page, form)
    try:
        asked = services.extend(actor=request.user, grant=grant, **form.cleaned_data)
    except InvalidInputError as error:
        add_error(form, error)
        return form_page(request, page, form)
    except AlreadyAskedError as error:
        return form_page(request, page, form, refusal=error)
    said = "It was extended at once, by the rule." if asked.by_rule else "Your request is sent."
    messages.success(request, said)
    return redirect(detail_url(asked))


@require_http_methods(["GET", "HEAD", "POST"])
def break_the_glass(request: PersonRequest) -> HttpResponse:
    """Take short, capped access at once; everybody is told, and a review follows."""
    projects = {project.code: project for project in Project.objects.workable_by(request.user)}
    policies = {
        str(terms.tier_id): terms
        for terms in Policy.objects.filter(retired_at__isnull=True, break_glass_hours__gt=0)
        .select_related("tier")
        .order_by("tier_id")
    }
    form = BreakGlassForm(request.POST or None, projects=projects.values(), policies=policies.values())
    page = FormPage(
        title="Break the glass",
        text=(
            "For an emergency that cannot wait for an approval. You get access at once, for hours and up to a"
            " cap. Leads, director, finance and administrators are told now, and somebody reviews it: without"
            " an approval the access ends at once."
        ),
        url=reverse("approvals:break_glass"),
        submit_text="Break the glass",
        cancel_url=reverse("approvals:ask"),
        cannot=_no_glass(projects, policies),
    )
    if request.method != "POST" or not form.is_valid():
        return form_page(request, page, form)
    values = form.cleaned_data
    try:
        asked, grant = services.break_glass(
            actor=request.user,
            project=projects[values["project"]],
            tier=policies[values["tier"]].tier,
            reason=values["reason"],
            ticket=values["ticket"],
        )
    except InvalidInputError as error:
        add_error(form, error)
        return form_page(request, page, form)
    except AlreadyAskedError as error:
        return form_page(request, page, form, refusal=error)
    messages.success(
        request,
        f"You have access until {grant.expires_at:%H:%M} UTC. Everybody was told, and a review waits.",
    )
    return redirect(detail_url(asked))


def _no_glass(projects: Sized, policies: Sized) -> str:
    """Say why there is no emergency access for this person; empty when there is."""
    if not projects:
        return "You are in no team with a project yet. Ask your team lead to add you to the team."
    return "" if policies else "No tier gives access in an emergency. Ask an administrator."


def _as_asked(asked: AccessRequest) -> dict[str, object]:
    return {
        "seen_revision": asked.revision,
        "models": model_names(asked.model_ids),
        "reason": asked.reason,
        "ticket": asked.ticket,
        "duration_days": asked.duration_days,
        "expected_monthly_usd": f"{asked.expected_monthly_usd.normalize():f}",
    }


def _prices(asked: AccessRequest) -> list[facts.ModelPrice]:
    """Return the models that may be chosen; an extension keeps its own."""
    if asked.extends_grant_id:
        return []
    return [price for _, price in facts.offered_models(asked.tier_id).values()]


def _over(request: PersonRequest, asked: AccessRequest, error: DomainError) -> HttpResponse:
    messages.error(request, error.detail)
    return redirect(detail_url(asked))
