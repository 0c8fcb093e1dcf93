"""What a token of the management API may be good for. Pure.

A token does what its owner may do, within its scopes; what no scope covers takes a person who is signed in.
Whoever makes a token has just confirmed that it is him (portal.gates), and so what it is good for.
"""

READS = frozenset({"GET", "HEAD", "OPTIONS"})

SCOPES = {
    "organisation:read": "See departments, teams, projects, people and their roles",
    "catalogue:read": "See tiers, models, prices, and what is proposed about prices",
    "budgets:read": "See budgets, limits, rates and alerts",
    "budgets:write": "Change budgets, limits and rates",
    "budgets:raise": "Raise limits, also by a plan, a top-up, softer rules or closing a budget",
    "keys:read": "See keys and grants",
    "keys:write": "Make, rename, suspend and revoke keys, and take grants back",
    "keys:rotate": "Rotate keys, which a person then reveals",
    "tokens:read": "See API tokens and service accounts",
    "tokens:write": "Revoke API tokens",
    "requests:read": "See requests for access and budget",
    "requests:write": "Ask for access and budget, change and withdraw what was asked",
    "policies:read": "See the rules of the tiers, and what is proposed in their place",
    "usage:read": "See usage, spend and refused calls",
    "usage:export": "Take all usage of a month out as a file",
    "reconciliation:read": "See reconciliation, closed months, sources, bills and rows not booked",
    "reconciliation:write": "Say who looks after differences, and close months softly",
    "audit:read": "See the audit",
    "audit:export": "Take the audit out as a file",
    "gateways:read": "See gateways",
    "gateways:write": "Switch gateways off",
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
    "price_list": "catalogue",
    "unpriced_models": "catalogue",
    "repricings": "catalogue",
    "budgets": "budgets",
    "rate_limits": "budgets",
    "budget_alerts": "budgets",
    "keys": "keys",
    "grants": "keys",
    "suspensions": "keys",
    "planned_activities": "keys",
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
    "spend_warnings": "usage",
    "reconciliation_runs": "reconciliation",
    "discrepancies": "reconciliation",
    "sources": "reconciliation",
    "provider_accounts": "reconciliation",
    "upstream_keys": "reconciliation",
    "invoices": "reconciliation",
    "quarantine": "reconciliation",
    "periods": "reconciliation",
    "audit_events": "audit",
    "gateways": "gateways",
    "webhooks": "webhooks",
    "deliveries": "webhooks",
    "notifications": "notifications",
    "sessions": "sessions",  # for which there is no scope: a token has none
}
# A secret is shown to a human, and only humans decide: separation of duties counts them. Who works here, and
# as what, says who decides. A move turns what spend counts on, what providers say is held against keys and
# bills, and news leave the house: a person answers for them. A loop must not resume itself,
# nor a gateway be let in again by a program.
SIGNED_IN_ONLY = frozenset(
    {
        "keys_reveal",
        "keys_resume",
        "planned_activities_create",
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
        "departments_create",
        "departments_rename",
        "departments_archive",
        "teams_create",
        "teams_rename",
        "teams_archive",
        "teams_move",
        "teams_add_member",
        "teams_end_member",
        "projects_create",
        "projects_rename",
        "projects_archive",
        "projects_move",
        "projects_hand_over",
        "people_create",
        "people_rename",
        "people_leave",
        "people_come_back",
        "people_reset_factors",
        "roles_create",
        "roles_end",
        "prices_create",
        "prices_end",
        "models_enter_prices",
        "models_declare_free",
        "price_list_follow",
        "price_proposals_approve",
        "price_proposals_reject",
        "repricings_create",
        "repricings_approve",
        "repricings_reject",
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
        "gateways_enable",
        "webhooks_create",
        "webhooks_change",
        "webhooks_rotate",
    }
)
# What a person has to confirm each time takes a scope of its own, which a person confirmed when the token was
# made: no token has it because it may write or read the rest of the noun.
CONFIRMED = {
    "budgets_change_limit": "budgets:raise",
    "budgets_withdraw_plan": "budgets:raise",
    "budgets_top_up": "budgets:raise",
    "budgets_set_rules": "budgets:raise",
    "budgets_close": "budgets:raise",
    "keys_rotate": "keys:rotate",
    "usage_focus": "usage:export",
    "audit_events_export": "audit:export",
}
PUBLIC = frozenset({"leaks_create"})


def scope_of(noun: str, action: str, method: str) -> str | None:
    """Return the scope that an operation asks of a token; None is "no token may"."""
    operation = f"{noun}_{action}"
    if operation in SIGNED_IN_ONLY or noun not in STEMS:
        return None
    if operation in CONFIRMED:
        return CONFIRMED[operation]
    scope = f"{STEMS[noun]}:{'read' if method in READS else 'write'}"
    return scope if scope in SCOPES else None
