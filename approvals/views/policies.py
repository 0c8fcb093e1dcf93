"""The rules of each tier: reading them, proposing others after seeing what they would do, confirming them."""

from dataclasses import dataclass

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from approvals import selectors, services
from approvals.forms.ruling import RetireForm, RulesForm, initial_of
from approvals.models import AccessRequest, Policy, PolicyProposal, ProposalStatus
from approvals.rules import Rules, check_rules, difference
from approvals.views.forms import add_error
from approvals.whatif import WhatIf, what_if
from core.errors import AlreadyDoneError, DomainError, InvalidInputError, NotFoundError, StaleError
from teams.models import Role, User
from teams.selectors import require_admin, roles_of
from teams.types import PersonRequest

REFUSALS = (AlreadyDoneError, StaleError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a change is, and what it would have done."""

    changes: tuple[tuple[str, str, str], ...]
    effect: WhatIf


@require_safe
def list_policies(request: PersonRequest) -> HttpResponse:
    """Show the rules in force for each tier, what is proposed, and earlier versions, to everybody."""
    rows = Policy.objects.select_related("tier", "created_by", "confirmed_by").order_by("tier_id", "-version")
    policies = list(rows)
    waiting = PolicyProposal.objects.filter(status=ProposalStatus.PENDING).select_related(
        "tier", "proposed_by"
    )
    context = {
        "tiers": [
            {
                "policy": policy,
                "lines": Rules.of(policy).lines(),
                "earlier": [each for each in policies if each.tier_id == policy.tier_id and each.retired_at],
            }
            for policy in policies
            if policy.retired_at is None
        ],
        "proposals": list(waiting.order_by("pk")),
        "may_change": Role.ADMIN in roles_of(request.user).organisation_wide,
    }
    return render(request, "approvals/policies.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def edit_policy(request: PersonRequest, public_id: str) -> HttpResponse:
    """Change the rules of a tier: first see what they would have done, then propose them."""
    require_admin(request.user, "change a policy")
    policy = _in_force(public_id)
    before = Rules.of(policy)
    form = RulesForm(request.POST or None, initial=initial_of(before))
    preview, refusal = None, None
    if request.method == "POST" and form.is_valid():
        rules = form.rules()
        try:
            check_rules(rules, tier=policy.tier_id)
            if "propose" in request.POST:
                proposal = services.propose_policy(
                    actor=request.user, base=policy, rules=rules, reason=form.cleaned_data["reason"]
                )
                messages.success(request, "It is proposed. Another administrator was asked to confirm it.")
                return redirect("approvals:proposal", proposal.public_id)
            preview = _preview(before, rules, policy)
        except InvalidInputError as error:
            add_error(form, _on_form(error))
        except REFUSALS as error:
            refusal = error
    context = {"policy": policy, "form": form, "preview": preview, "refusal": refusal}
    status = refusal.status if refusal else 422 if form.errors else 200
    return render(request, "approvals/policy.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def retire_policy(request: PersonRequest, public_id: str) -> HttpResponse:
    """Name what follows when nobody may ask for a tier any more; on POST propose it."""
    require_admin(request.user, "change a policy")
    policy = _in_force(public_id)
    form = RetireForm(request.POST or None)
    status = 200
    if request.method == "POST" and form.is_valid():
        try:
            proposal = services.propose_policy(
                actor=request.user, base=policy, rules=None, **form.cleaned_data
            )
        except (InvalidInputError, *REFUSALS) as error:
            add_error(form, error)
            status = error.status
        else:
            messages.success(request, "It is proposed. Another administrator was asked to confirm it.")
            return redirect("approvals:proposal", proposal.public_id)
    waiting = AccessRequest.objects.pending().filter(tier=policy.tier_id).count()
    confirm = {
        "title": f"Let nobody ask for {policy.tier} any more?",
        "text": "Nothing changes before another administrator confirms it.",
        "consequences": (
            f"Nobody can ask for {policy.tier}, extend it, or break the glass for it.",
            f"Requests that wait then are closed, and whoever asked is told. Waiting now: {waiting}.",
            "What was granted stays until it ends.",
        ),
        "url": reverse("approvals:retire_policy", args=[public_id]),
        "submit_text": "Propose this",
        "cancel_url": reverse("approvals:policies"),
        "cancel_text": "Keep the rules",
    }
    context = {"confirm": confirm, "form": form}
    return render(request, "confirm.html", context, status=422 if form.errors and status == 200 else status)


@require_http_methods(["GET", "HEAD", "POST"])
def show_proposal(request: PersonRequest, public_id: str) -> HttpResponse:
    """Show a proposal with what it would have done; on POST confirm or drop it."""
    proposal = selectors.proposals_for(request.user).filter(public_id=public_id).first()
    if proposal is None:
        raise NotFoundError("There is no such proposal.")
    refusal: DomainError | None = None
    if request.method == "POST":
        try:
            said = _act(request.user, proposal, "confirm" in request.POST)
        except REFUSALS as error:
            refusal = error
            proposal.refresh_from_db()
        else:
            messages.success(request, said)
            return redirect("approvals:policies")
    before = Rules.of(proposal.base)
    after = Rules.from_json(proposal.rules) if proposal.rules else None
    context = {
        "proposal": proposal,
        "preview": _preview(before, after, proposal.base) if after else None,
        "is_open": proposal.status == ProposalStatus.PENDING,
        "may_confirm": request.user.pk != proposal.proposed_by_id,
        "refusal": refusal,
        "form": forms.Form(),
    }
    status = refusal.status if refusal else 200
    return render(request, "approvals/proposal.html", context, status=status)


def _act(actor: User, proposal: PolicyProposal, confirms: bool) -> str:
    if not confirms:
        services.drop_policy(actor=actor, proposal=proposal)
        return "The proposal is dropped. Nothing changed."
    services.confirm_policy(actor=actor, proposal=proposal)
    return f"The rules of {proposal.tier} are in force from now on."


def _preview(before: Rules, after: Rules, policy: Policy) -> Preview:
    return Preview(changes=tuple(difference(before, after)), effect=what_if(after, policy.tier_id))


def _in_force(public_id: str) -> Policy:
    policy = Policy.objects.select_related("tier").filter(public_id=public_id, retired_at__isnull=True)
    found = policy.first()
    if found is None:
        raise NotFoundError("These rules are not in force. Go back to the list of policies.")
    return found


def _on_form(error: InvalidInputError) -> InvalidInputError:
    """Return a refusal of the stages at the field of the first one."""
    if error.field == "stages":
        error.field = "stage_1"
    return error
