# ruff: noqa: E501  one statement a line reads as the table it is
"""What raw SQL may not do: each line of this table breaks one rule of the database, named by its constraint
or message.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from budgets.selectors import unbalanced_balances
from core import audit, clock
from tests import factories
from tests.gateway.conftest import World, world  # noqa: F401  the fixture

# (statement, what the refusal says). %(...)s are ids of the small organisation.
BROKEN = [
    ("UPDATE core_auditevent SET reason = 'x'", "append-only"),
    ("DELETE FROM core_auditevent", "append-only"),
    ("TRUNCATE core_auditevent", "append-only"),
    ("UPDATE budgets_entry SET amount_usd = 0", "append-only"),
    ("DELETE FROM budgets_entry", "append-only"),
    ("TRUNCATE budgets_entry CASCADE", "append-only"),
    ("UPDATE budgets_budgetlimit SET amount_usd = 1000000", "append-only"),
    ("DELETE FROM budgets_budgetlimit", "append-only"),
    ("UPDATE budgets_balance SET reserved_usd = -1", "balance_never_holds_less_than_nothing"),
    ("UPDATE budgets_balance SET window_end = window_start", "balance_window_ends_after_it_starts"),
    ("UPDATE budgets_budget SET scope_id = 99999", "keeps its scope"),
    ("UPDATE budgets_budget SET time_zone = 'Asia/Kolkata'", "keeps its scope"),
    ("INSERT INTO budgets_budget (public_id, scope_kind, scope_id, department_id, \"window\", window_anchor, time_zone, mode, created_at) VALUES ('bdg_x', 'team', 424242, %(department)s, 'day', 1, 'UTC', 'hard', now())", "does not exist"),
    ("INSERT INTO budgets_budget (public_id, scope_kind, scope_id, department_id, \"window\", window_anchor, time_zone, mode, created_at) VALUES ('bdg_x', 'organisation', 5, NULL, 'day', 1, 'UTC', 'hard', now())", "budget_scope_is_whole"),
    ("INSERT INTO budgets_budget (public_id, scope_kind, scope_id, department_id, \"window\", window_anchor, time_zone, mode, created_at) VALUES ('bdg_x', 'team', %(team)s, %(department)s, 'day', 3, 'UTC', 'hard', now())", "budget_window_anchor_fits"),
    ("INSERT INTO budgets_budget (public_id, scope_kind, scope_id, department_id, \"window\", window_anchor, time_zone, mode, created_at) VALUES ('bdg_x', 'key', %(key)s, %(department)s, 'day', 1, 'UTC', 'hard', now())", "budget_one_open_per_scope"),
    ("INSERT INTO budgets_budgetlimit (budget_id, kind, amount_usd, valid_from, reason, recorded_at) VALUES (%(budget)s, 'base', -1, now(), 'x', now())", "limit_is_not_negative"),
    ("INSERT INTO budgets_budgetlimit (budget_id, kind, amount_usd, valid_from, reason, recorded_at) VALUES (%(budget)s, 'base', 1, now(), '', now())", "limit_has_a_reason"),
    ("INSERT INTO budgets_budgetlimit (budget_id, kind, amount_usd, valid_from, reason, recorded_at) VALUES (%(budget)s, 'top_up', 1, now(), 'x', now())", "limit_top_up_ends"),
    ("UPDATE budgets_reservation SET state = 'open'", "reservation_resolved_has_a_time"),
    ("UPDATE budgets_reservation SET held_usd = -1", "reservation_holds_at_least_nothing"),
    ("UPDATE budgets_reservation SET window_starts = '{}'", "reservation_path_is_whole"),
    ("INSERT INTO budgets_entry SELECT (jsonb_populate_record(e, jsonb_build_object('id', 99, 'public_id', 'ent_x'))).* FROM budgets_entry e", "entry_one_settlement_per_reservation"),
    ("INSERT INTO budgets_entry SELECT (jsonb_populate_record(e, '{\"id\": 99, \"public_id\": \"ent_x\", \"kind\": \"correction\", \"reason\": \"x\", \"reservation_id\": null}')).* FROM budgets_entry e", "entry_correction_names"),
    ("INSERT INTO budgets_entry SELECT (jsonb_populate_record(e, '{\"id\": 99, \"public_id\": \"ent_x\", \"kind\": \"adjust\", \"reservation_id\": null}')).* FROM budgets_entry e", "entry_by_hand_has_a_reason"),
    ("UPDATE catalog_price SET usd_per_unit = 0", "never edited"),
    ("DELETE FROM catalog_price", "never edited"),
    ("INSERT INTO catalog_price SELECT (jsonb_populate_record(p, jsonb_build_object('id', p.id + 1000, 'public_id', 'prc_' || p.id))).* FROM catalog_price p", "price_ranges_do_not_overlap"),
    ("INSERT INTO catalog_alias (name, model_id) VALUES ('large', %(model)s)", "catalog_one_name_space|is taken"),
    ("UPDATE catalog_llmmodel SET max_output_tokens = NULL", "model_with_output_says_how_much"),
    ("UPDATE keys_apikey SET expires_at = now() + interval '9 years'", "may only end sooner"),
    ("UPDATE keys_apikey SET secret_hmac = decode(repeat('00', 32), 'hex')", "may only end sooner"),
    ("UPDATE keys_apikey SET owner_id = owner_id + 1", "may only end sooner"),
    ("DELETE FROM keys_apikey", "may only end sooner"),
    ("UPDATE keys_grant SET expires_at = expires_at + interval '1 day'", "may only shrink"),
    ("UPDATE keys_grant SET tier_id = 3", "may only shrink"),
    ("UPDATE keys_grant SET monthly_cap_usd = NULL", "may only shrink"),
    ("UPDATE keys_grant SET model_ids = '{1,2,3}'", "may only shrink"),
    ("DELETE FROM keys_grant", "may only shrink"),
    ("INSERT INTO usage_event SELECT * FROM usage_event", "duplicate key"),
    ("UPDATE gateway_gateway SET live_versions = '{1,2,3}'", "gateway_has_one_or_two_live_secrets"),
    ("UPDATE teams_user SET email = 'ADA@example.com'", "user_email_is_lower_case"),
    ("INSERT INTO teams_roleassignment (public_id, user_id, role, team_id, valid_from, source) VALUES ('rol_x', %(user)s, 'director', %(team)s, now(), 'person')", "role_has_the_scope_it_needs"),
    ("INSERT INTO teams_membership (user_id, team_id, valid_from) VALUES (%(user)s, %(team)s, now()), (%(user)s, %(team)s, now() + interval '1 day')", "membership_once_at_a_time"),
    ("INSERT INTO teams_membership (user_id, team_id, valid_from, valid_until) VALUES (%(user)s, %(team)s, now(), now())", "membership_ends_after_it_starts|range"),
]  # fmt: skip


@pytest.fixture
def busy(world: World) -> World:  # noqa: F811
    """The small organisation after one settled call, with a grant, a top-up and an audit row."""
    budget = world.budget("key", kind="key", limit="5")  # type: ignore[arg-type]
    reservation = world.gus.authorize(world.token).json()["reservation"]
    world.gus.settle(reservation)
    factories.approved_grant(
        world.key, model_ids=[world.large.pk], starts_at=clock.now() - timedelta(hours=2)
    )
    audit.record(actor=None, action="test", subject=budget)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    return world


@pytest.mark.parametrize(
    ("statement", "rule"), BROKEN, ids=[f"{rule}: {statement[:50]}" for statement, rule in BROKEN]
)
def test_raw_sql_cannot_break_it(busy: World, statement: str, rule: str) -> None:
    ids = {
        "department": busy.team.department_id,
        "team": busy.team.pk,
        "key": busy.key.pk,
        "budget": busy.budgets["key"].pk,
        "model": busy.small.pk,
        "user": busy.ada.pk,
    }
    with pytest.raises(IntegrityError, match=rule), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, ids)
    assert unbalanced_balances() == []
