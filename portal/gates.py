"""Two gates before every page and call of the API: a second factor for whoever decides, and a fresh sign-in
for what is declared sensitive. A new sensitive act is one line of SENSITIVE.

Programs have no sign-in that could be fresh: an operation of SENSITIVE is closed to tokens, or takes a scope
of its own, which stands in keys.scopes.CONFIRMED.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from allauth.account.adapter import get_adapter
from allauth.account.internal.flows.reauthentication import suspend_request
from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from approvals.models import AccessRequest
from core.errors import NotAllowedError
from keys.models import Grant
from portal.answers import lead_to, problem_document
from portal.factors import SecondFactorMissingError, needs_second_factor
from teams.models import User
from teams.sign_in import confirmed_lately, has_factor, lacks_second_factor

Handler = Callable[[HttpRequest], HttpResponse]
Condition = Callable[[HttpRequest, Mapping[str, Any]], bool]

AGAIN = "Sign in again, with your second factor."
SAFE = ("GET", "HEAD", "OPTIONS")
HIGHEST_TIER_WITHOUT = 2
# Reached without a second factor: where one is set up, the way out, and what shows nothing of the house.
FACTORS_PATH = "/accounts/2fa/"
OPEN_PATHS = ("/accounts/", "/theme/", "/healthz", "/readyz", "/api/schema/", "/sessions/")


class ConfirmationNeededError(NotAllowedError):
    """The act needs that the person signed in, or confirmed who he is, within five minutes."""

    code = "confirmation_needed"
    title = "Confirm that it is you"


def writes(request: HttpRequest, kwargs: Mapping[str, Any]) -> bool:
    """Whether the request may change something."""
    return request.method not in SAFE


def always(request: HttpRequest, kwargs: Mapping[str, Any]) -> bool:
    """Whatever is asked of this view: its form is not shown either, so that nothing is typed in vain."""
    return True


def exports(request: HttpRequest, kwargs: Mapping[str, Any]) -> bool:
    """Whether the page is asked for as a file."""
    return request.GET.get("format") == "csv"


def decides_tier_three(request: HttpRequest, kwargs: Mapping[str, Any]) -> bool:
    """Whether a request for Tier 3 is decided. One query."""
    if not writes(request, kwargs):
        return False
    public_id = kwargs.get("public_id") or kwargs.get("id")
    return AccessRequest.objects.filter(public_id=public_id, tier__gt=HIGHEST_TIER_WITHOUT).exists()


def keeps_tier_three(request: HttpRequest, kwargs: Mapping[str, Any]) -> bool:
    """Whether access to Tier 3 is kept in the access review. One query."""
    public_id = kwargs.get("public_id") or kwargs.get("id")
    if not writes(request, kwargs) or ("public_id" in kwargs and "keep" not in request.POST):
        return False
    return Grant.objects.filter(public_id=public_id, tier__gt=HIGHEST_TIER_WITHOUT).exists()


SENSITIVE: Mapping[str, Condition] = {
    "approvals:decide": decides_tier_three,
    "api:requests-decide": decides_tier_three,
    "approvals:break_glass": always,
    "api:requests-break-glass": writes,
    "approvals:review_one": keeps_tier_three,
    "api:access_reviews-keep": keeps_tier_three,
    "approvals:delegations": writes,
    "api:delegations-list": writes,
    "approvals:edit_policy": always,
    "approvals:retire_policy": always,
    "api:policies-propose": writes,
    "approvals:proposal": writes,
    "api:policy_proposals-confirm": writes,
    "api:policy_proposals-reject": writes,
    "keys:reveal": writes,  # the first secret of a key, and the next one after a rotation
    "api:keys-reveal": writes,
    "keys:rotate": always,
    "api:keys-rotate": writes,
    "keys:create_token": always,
    "keys:create_service": always,
    "keys:hand_over": always,
    "keys:reveal_token": writes,
    "api:api_tokens-list": writes,
    "api:api_tokens-reveal": writes,
    "api:service_accounts-list": writes,
    "api:service_accounts-hand-over": writes,
    "approvals:decide_budget": writes,
    "api:budget_requests-decide": writes,
    "budgets:change": always,
    "budgets:plan": always,
    "budgets:withdraw": always,  # the limit from before goes on, and may be the higher one
    "budgets:top_up": always,
    "budgets:rules": always,
    "api:budgets-limits": writes,
    "api:budgets-withdraw-plan": writes,
    "api:budgets-top-up": writes,
    "api:budgets-set-rules": writes,
    "move_project": always,
    "api:projects-move": writes,
    "move_team": always,
    "api:teams-move": writes,
    "archive_project": always,  # every key of it is refused, and nothing brings it back
    "teams:archive_team": always,
    "teams:archive_department": always,
    "teams:add_member": always,
    "teams:end_membership": always,
    "hand_over_project": always,
    "budgets:close": always,  # what is not limited any more is raised for good
    "api:budgets-close": writes,
    "api:teams-members": writes,
    "api:teams-end-member": writes,
    "api:teams-archive": writes,  # every key is refused, and nothing brings it back
    "api:projects-archive": writes,
    "api:departments-archive": writes,
    "api:projects-hand-over": writes,
    "quarantine:assign": always,
    "quarantine:dismiss": always,
    "api:quarantine-book": writes,
    "api:quarantine-dismiss": writes,
    "people:add": always,
    "people:give_role": always,
    "people:end_role": always,
    "people:reset_factors": always,
    "people:leave": always,
    "people:return": always,
    "api:people-list": writes,
    "api:people-reset-factors": writes,
    "api:people-leave": writes,
    "api:people-return": writes,
    "api:roles-list": writes,
    "api:roles-end": writes,
    "enter_prices": always,
    "declare_free": always,  # a model that costs nothing is called when the budget is gone, too
    "api:models-enter-prices": writes,
    "api:models-declare-free": writes,
    "prices:list": exports,
    "prices:model": exports,
    "prices:import": writes,
    "api:price_list": writes,
    "prices:override": always,
    "prices:end": always,
    "prices:proposal": writes,
    "api:prices-list": writes,
    "api:prices-end": writes,
    "api:price_proposals-approve": writes,
    "api:price_proposals-reject": writes,
    "prices:new_repricing": always,
    "prices:repricing": writes,
    "api:repricings-list": writes,
    "api:repricings-approve": writes,
    "api:repricings-reject": writes,
    "overview": exports,
    "models": exports,
    "keys:list": exports,
    "people:list": exports,
    "approvals:list": exports,
    "sources:list": exports,
    "deliveries:list": exports,
    "budgets:list": exports,
    "blocked:list": exports,
    "audit:list": exports,
    "api:audit_events-export": always,
    "invoices:detail": exports,
    "providers:add": always,
    "providers:credential": always,
    "providers:close": always,
    "providers:register_key": always,
    "providers:retire_key": always,
    "api:upstream_keys-list": writes,
    "reconciliation:list": exports,
    "reconciliation:periods": exports,
    "reconciliation:resolve": writes,
    "reconciliation:close": writes,
    "reconciliation:reopen": always,
    "api:discrepancies-explain": writes,
    "api:discrepancies-accept": writes,
    "api:discrepancies-correct": writes,
    "api:discrepancies-confirm-price": writes,
    "api:periods-close": writes,
    "api:periods-reopen": writes,
    "team": exports,
    "project": exports,
    "reports:list": exports,
    "reports:statement": exports,
    "reports:focus": always,
    "api:usage-focus": always,
    "gateways:enable": always,
    "api:gateways-enable": writes,
    "webhooks:list": writes,
    "webhooks:change": always,
    "webhooks:rotate": writes,
    "api:webhooks-list": writes,
    "api:webhooks-change": writes,
    "api:webhooks-rotate": writes,
}


class second_factor_first:  # noqa: N801  named like its neighbours; a class because Django asks for process_view
    """Lead whoever needs a second factor and has none to where he sets one up, before anything else."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponse | None:
        """Stop a signed-in person who lacks his second factor; one who has it and did not show it is out."""
        user, sets_up = request.user, request.path.startswith(FACTORS_PATH)
        if not isinstance(user, User) or (request.path.startswith(OPEN_PATHS) and not sets_up):
            return None
        if not lacks_second_factor(request, user, needs=needs_second_factor):
            return None
        if has_factor(user):
            return _sign_out(request)
        if sets_up:
            return None
        detail = "Whoever decides needs a second factor. Set one up in the browser, then call again."
        return _refused(request, detail, "mfa_index", {"needed": "yes"})


def _sign_out(request: HttpRequest) -> HttpResponse:
    """End a sign-in without the second factor that its person has; a page says why where he begins again."""
    logout(request)
    query = {"next": request.get_full_path()} if request.method in SAFE else {}
    if not request.path.startswith("/api/"):
        lost = "" if query else " What you sent was not done."
        messages.warning(request, f"You have a second factor, and this sign-in was without it.{lost} {AGAIN}")
    return _refused(request, AGAIN, "account_login", query)


def _refused(request: HttpRequest, detail: str, where: str, query: Mapping[str, str]) -> HttpResponse:
    """Tell a program what is missing, and lead a person there."""
    target = reverse(where)
    if request.path.startswith("/api/"):
        return problem_document(SecondFactorMissingError(detail, next_url=target))
    return lead_to(request, f"{target}?{urlencode(query, safe='/')}" if query else target)


class confirmation_first:  # noqa: N801  named like its neighbours; a class because Django asks for process_view
    """Ask a person again who he is before a declared act, unless he has just shown it."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponse | None:
        """Keep the act until the person has confirmed; it goes on from there by itself."""
        match = request.resolver_match
        condition = SENSITIVE.get(match.view_name) if match else None
        if condition is None or not isinstance(request.user, User) or confirmed_lately(request):
            return None
        if not condition(request, kwargs):
            return None
        ways = get_adapter(request).get_reauthentication_methods(request.user)
        where = ways[0]["url"] if ways else reverse("account_login")
        if request.path.startswith("/api/"):
            return problem_document(
                ConfirmationNeededError(
                    "Sign in again, or confirm at the address in next_url; it holds for five minutes.",
                    next_url=where,
                )
            )
        return lead_to(request, suspend_request(request, where)["Location"])
