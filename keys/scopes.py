"""What a token of the management API may be good for. Pure.

A token does what its owner may do, within its scopes; what no scope covers takes a person who is signed in.
"""

READS = frozenset({"GET", "HEAD", "OPTIONS"})

SCOPES = {
    "organisation:read": "See departments, teams, projects, people and their roles",
    "catalogue:read": "See tiers, models and prices",
    "budgets:read": "See budgets, limits and rates",
    "budgets:write": "Change budgets, limits and rates",
    "keys:read": "See keys and grants",
    "keys:write": "Make, rotate, rename and revoke keys, and take grants back",
    "tokens:read": "See API tokens and service accounts",
    "tokens:write": "Revoke API tokens",
    "requests:read": "See requests for access and budget",
    "requests:write": "Ask for access and budget, change and withdraw what was asked",
    "policies:read": "See the rules of the tiers, and what is proposed in their place",
    "usage:read": "See usage, spend and refused calls",
    "reconciliation:read": "See reconciliation, closed months, sources, bills and rows not booked",
    "reconciliation:write": "Say who looks after differences, and close months softly",
    "audit:read": "See the audit",
    "webhooks:read": "See webhooks, and what was delivered",
    "webhooks:write": "Switch webhooks on and off, test and remove them, and send messages again",
    "notifications:read": "See what you want to be told",
    "notifications:write": "Change what you want to be told",
}
# By the name that a noun's addresses are registered under. One that is not here is closed to tokens.
STEMS = {
    "departments": "organisation",
    "teams": "organisation",
    "projects": "organisation",
    "people": "organisation",
    "roles": "organisation",
    "tiers": "catalogue",
    "models": "catalogue",
    "prices": "catalogue",
    "price_proposals": "catalogue",
    "budgets": "budgets",
    "rate_limits": "budgets",
    "keys": "keys",
    "grants": "keys",
    "api_tokens": "tokens",
    "service_accounts": "tokens",
    "requests": "requests",
    "budget_requests": "requests",
    "usage": "usage",
    "delegations": "requests",
    "policies": "policies",
    "policy_proposals": "policies",
    "access_reviews": "requests",
    "usage_days": "usage",
    "blocked_calls": "usage",
    "reconciliation_runs": "reconciliation",
    "discrepancies": "reconciliation",
    "sources": "reconciliation",
    "provider_accounts": "reconciliation",
    "upstream_keys": "reconciliation",
    "invoices": "reconciliation",
    "quarantine": "reconciliation",
    "periods": "reconciliation",
    "audit_events": "audit",
    "webhooks": "webhooks",
    "deliveries": "webhooks",
    "notifications": "notifications",
    "sessions": "sessions",  # for which there is no scope: a token has none
}
# A secret is shown to a human, and only humans decide: separation of duties counts them. Who works here, and
# as what, says who decides. A project's move turns what its spend counts on, what providers say is held
# against keys and bills, and news leave the house: a person answers for them.
SIGNED_IN_ONLY = frozenset(
    {
        "keys_reveal",
        "api_tokens_create",
        "api_tokens_reveal",
        "service_accounts_create",
        "service_accounts_hand_over",
        "requests_decide",
        "requests_approve_together",
        "requests_break_glass",
        "budget_requests_decide",
        "delegations_create",
        "policies_simulate",
        "policies_propose",
        "policy_proposals_confirm",
        "policy_proposals_reject",
        "access_reviews_keep",
        "access_reviews_end",
        "projects_move",
        "people_create",
        "people_rename",
        "people_leave",
        "people_come_back",
        "people_reset_factors",
        "roles_create",
        "roles_end",
        "prices_create",
        "prices_end",
        "price_proposals_approve",
        "price_proposals_reject",
        "discrepancies_explain",
        "discrepancies_accept",
        "discrepancies_correct",
        "discrepancies_confirm_price",
        "periods_close",
        "periods_reopen",
        "quarantine_book",
        "quarantine_dismiss",
        "upstream_keys_create",
        "invoices_create",
        "sessions_list",
        "sessions_end",
        "webhooks_create",
        "webhooks_change",
        "webhooks_rotate",
    }
)
PUBLIC = frozenset({"leaks_create"})


def scope_of(noun: str, action: str, method: str) -> str | None:
    """Return the scope that an operation asks of a token; None is "no token may"."""
    if f"{noun}_{action}" in SIGNED_IN_ONLY or noun not in STEMS:
        return None
    scope = f"{STEMS[noun]}:{'read' if method in READS else 'write'}"
    return scope if scope in SCOPES else None
