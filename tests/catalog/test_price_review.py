"""A price that moves far needs a second person; one that somebody enters has an author, a reason, a time."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from catalog import importer, services
from catalog.errors import StaleProposalError
from catalog.importer import Listing, Slot
from catalog.models import LlmModel, Price, PriceProposal, PriceSource, ProposalState, Unit
from catalog.pricing import STANDARD, rates
from catalog.proposals import Override
from catalog.selectors import price_rows
from catalog.services.importing import database_now
from core import clock
from core.errors import AlreadyDoneError, InvalidInputError, NotAllowedError
from core.models import AuditEvent, Outbox
from teams.errors import RoleNeededError
from teams.models import Role, User
from tests.cast import Cast
from tests.catalog.test_import_prices import listed
from tests.factories import LlmModelFactory, RoleAssignmentFactory, UserFactory, tier
from tests.racing import at_once, losers, winners

WHY = "The contract of November."
DAY = timedelta(days=1)
MIGRATION = Path(importer.__file__).with_name("migrations") / "0006_price_review.sql"
OFFERED = [
    Listing(
        name="tested", provider="openai", mode="chat", tier=1, context_window_tokens=10_000,
        max_output_tokens=1_000, aliases=(),
    )
]  # fmt: skip


def second(name: str = "Second Admin") -> User:
    person: User = UserFactory.create(name=name)
    RoleAssignmentFactory.create(user=person, role=Role.ADMIN)
    return person


def follow(actor: User | None, usd: str | None) -> services.ImportReport:
    """Import a list on which input of `tested` costs this much, or which has lost the model."""
    published = listed() if usd is None else listed((importer.SINCE, usd))
    return services.import_prices(actor=actor, offered=OFFERED, published=published)


def waiting(actor: User | None, usd: str | None = "2.00") -> PriceProposal:
    follow(actor, "1.00")
    proposal = follow(actor, usd).waiting
    assert proposal is not None
    return proposal


def override(usd: str, **changes: Any) -> Override:
    fields = {"source": PriceSource.MANUAL, "valid_from": None, "valid_until": None, **changes}
    slot = fields.pop("slot", Slot(unit=Unit.INPUT, context=STANDARD, tier_start=0))
    return Override(slot=slot, usd_per_unit=Decimal(usd), **fields)


def enter(cast: Cast, usd: str, **changes: Any) -> PriceProposal:
    return services.override_price(
        actor=cast.ann, model=cast.large, override=override(usd, **changes), reason=WHY
    )


def charged(model: LlmModel, at: Any = None) -> Decimal:
    moment = at or clock.now() + timedelta(seconds=1)
    return rates(price_rows([model.pk])[model.pk], at=moment).input_usd


# -- the list ---------------------------------------------------------------------------------------------


def test_far_moves_wait_and_small_ones_follow_at_once(cast: Cast) -> None:
    proposal = waiting(cast.ann)

    assert charged(LlmModel.objects.get(name="tested")) == 1
    assert (proposal.state, proposal.needs_second, proposal.proposed_by) == ("waiting", True, cast.ann)
    [move] = proposal.difference["moves"]
    assert (move["model"], move["unit"], move["share"]) == ("tested", "input", "1")

    assert follow(cast.ann, "1.15").waiting is None
    proposal.refresh_from_db()
    assert proposal.state == ProposalState.REPLACED
    assert charged(LlmModel.objects.get(name="tested")) == Decimal("1.15")


def test_the_same_difference_is_proposed_once_and_another_one_replaces_it(cast: Cast) -> None:
    proposal = waiting(cast.ann)

    assert follow(None, "2.00").waiting == proposal
    other = follow(None, "3.00").waiting

    proposal.refresh_from_db()
    assert other is not None
    assert (proposal.state, other.state) == (ProposalState.REPLACED, ProposalState.WAITING)
    assert PriceProposal.objects.filter(state=ProposalState.WAITING).count() == 1


def test_another_administrator_approves_and_everybody_else_is_refused(cast: Cast) -> None:
    proposal = waiting(cast.ann)

    with pytest.raises(NotAllowedError, match="another administrator"):
        services.approve_prices(actor=cast.ann, proposal=proposal)
    for person in (cast.ada, cast.ben, cast.cleo, cast.fay, cast.audrey):
        with pytest.raises(RoleNeededError):
            services.approve_prices(actor=person, proposal=proposal)
        with pytest.raises(RoleNeededError):
            services.reject_prices(actor=person, proposal=proposal, reason=WHY)
    bea = second()
    services.approve_prices(actor=bea, proposal=proposal)

    model = LlmModel.objects.get(name="tested")
    assert charged(model) == 2
    row = Price.objects.get(model=model, unit="input", valid_until__isnull=True)
    assert (row.proposal, row.source_version) == (proposal, importer.list_version())
    assert AuditEvent.objects.filter(action="prices.approved", actor_id=bea.pk).count() == 1
    with pytest.raises(AlreadyDoneError):
        services.approve_prices(actor=second("Third"), proposal=proposal)


def test_a_model_that_disappears_waits_and_its_price_ends_when_approved(cast: Cast) -> None:
    proposal = waiting(cast.ann, None)
    assert all(move["goes_away"] for move in proposal.difference["moves"])
    model = LlmModel.objects.get(name="tested")
    assert charged(model) == 1

    services.approve_prices(actor=second(), proposal=proposal)

    assert not Price.objects.filter(model=model, valid_until__isnull=True).exists()


def test_the_command_proposes_for_any_administrator(cast: Cast) -> None:
    proposal = waiting(None)

    assert Outbox.objects.filter(topic="prices.proposed", recipient=cast.ann.email).count() == 1
    services.approve_prices(actor=cast.ann, proposal=proposal)
    assert charged(LlmModel.objects.get(name="tested")) == 2


def test_rejecting_needs_a_reason_and_changes_nothing(cast: Cast) -> None:
    proposal = waiting(cast.ann)
    with pytest.raises(InvalidInputError):
        services.reject_prices(actor=cast.ann, proposal=proposal, reason="  ")

    services.reject_prices(actor=second(), proposal=proposal, reason="The list is wrong.")

    proposal.refresh_from_db()
    assert (proposal.state, proposal.answer) == (ProposalState.REJECTED, "The list is wrong.")
    assert charged(LlmModel.objects.get(name="tested")) == 1


def test_a_proposal_is_refused_when_prices_changed_since(cast: Cast) -> None:
    proposal = waiting(cast.ann)
    row = Price.objects.get(model__name="tested", unit="input", valid_until__isnull=True)
    with transaction.atomic():
        now = database_now()
        Price.objects.filter(pk=row.pk).update(valid_until=now)
        Price.objects.create(
            model=row.model, unit="input", usd_per_unit=Decimal("1.50"), valid_from=now, source=row.source,
            source_version="x",
        )  # fmt: skip

    with pytest.raises(StaleProposalError):
        services.approve_prices(actor=second(), proposal=proposal)

    proposal.refresh_from_db()
    assert proposal.state == ProposalState.WAITING


def test_the_database_too_keeps_the_proposer_from_approving(cast: Cast) -> None:
    proposal = waiting(cast.ann)
    with pytest.raises(IntegrityError, match="approved_by_somebody_else"), transaction.atomic():
        PriceProposal.objects.filter(pk=proposal.pk).update(
            state=ProposalState.APPLIED, ended_by=cast.ann, ended_at=clock.now()
        )


# -- prices by hand -----------------------------------------------------------------------------------------


def test_a_small_override_is_in_force_at_once_with_author_and_reason(cast: Cast) -> None:
    proposal = enter(cast, "0.0000027")

    assert proposal.state == ProposalState.APPLIED
    row = Price.objects.get(proposal=proposal)
    assert (row.author, row.reason, row.source) == (cast.ann, WHY, PriceSource.MANUAL)
    assert charged(cast.large) == Decimal("0.0000027")


@pytest.mark.parametrize("usd", ["0.0000031", "0.0000019", "0"])
def test_an_override_above_twenty_percent_waits_for_a_second_person(cast: Cast, usd: str) -> None:
    proposal = enter(cast, usd)
    assert (proposal.state, charged(cast.large)) == (ProposalState.WAITING, Decimal("0.0000025"))

    services.approve_prices(actor=second(), proposal=proposal)

    assert charged(cast.large) == Decimal(usd)
    assert Price.objects.get(proposal=proposal).author == cast.ann


def test_an_override_beats_the_steps_of_the_list_too_so_they_are_looked_at(cast: Cast) -> None:
    Price.objects.create(
        model=cast.large, unit="input", usd_per_unit=Decimal("0.000005"), tier_start=200_001,
        valid_from=importer.SINCE, source=PriceSource.MANUAL, source_version="x",
    )  # fmt: skip

    proposal = enter(cast, "0.0000024", source=PriceSource.CONTRACT)

    assert proposal.state == ProposalState.WAITING
    steps = [(move["tier_start"], move["share"]) for move in proposal.difference["moves"]]
    assert steps == [(0, "0.04"), (200_001, "0.52")]


def test_a_contract_may_begin_later_and_end_by_itself(cast: Cast) -> None:
    starts = clock.now() + 10 * DAY
    enter(cast, "0.0000022", source=PriceSource.CONTRACT, valid_from=starts, valid_until=starts + 30 * DAY)

    moments = (None, starts, starts + 30 * DAY)
    assert [charged(cast.large, at) for at in moments] == [
        Decimal(usd) for usd in ("0.0000025", "0.0000022", "0.0000025")
    ]


def test_a_price_since_earlier_leaves_what_was_charged_and_beats_the_list(cast: Cast) -> None:
    starts = clock.now() - 10 * DAY
    enter(cast, "0.0000024", source=PriceSource.CONTRACT, valid_from=starts)

    assert charged(cast.large, starts) == Decimal("0.0000024")
    with pytest.raises(InvalidInputError, match="cannot end in the past"):
        enter(cast, "0.0000026", valid_from=starts)  # the prices of the cast are manual ones


def test_one_of_a_source_gives_way_to_the_next_and_never_overlaps(cast: Cast) -> None:
    enter(cast, "0.0000028")
    assert charged(cast.large) == Decimal("0.0000028")
    later = clock.now() + 20 * DAY
    enter(cast, "0.0000027", valid_from=later)

    with pytest.raises(InvalidInputError, match="Let this one end before it"):
        enter(cast, "0.0000029", valid_from=clock.now() + DAY)
    enter(cast, "0.0000029", valid_from=clock.now() + DAY, valid_until=later)
    assert charged(cast.large, later) == Decimal("0.0000027")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"source": PriceSource.GENAI_PRICES}, "source"),
        ({"slot": Slot(unit=Unit.INPUT, context="unknown", tier_start=0)}, "context"),
        ({"valid_until": clock.now() - DAY}, "valid_until"),
    ],
)
def test_what_is_impossible_is_refused_at_its_field(cast: Cast, changes: Any, field: str) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        enter(cast, "0.0000025", **changes)
    assert refusal.value.field == field


@pytest.mark.parametrize("usd", ["-1", "10001", "0.0000000000000001"])
def test_an_impossible_price_is_refused(cast: Cast, usd: str) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        enter(cast, usd)
    assert refusal.value.field == "usd_per_unit"


def test_only_administrators_enter_and_end_prices(cast: Cast) -> None:
    price = Price.objects.filter(model=cast.large).latest("pk")
    for person in (cast.ada, cast.ben, cast.cleo, cast.fay, cast.audrey):
        with pytest.raises(RoleNeededError):
            services.override_price(actor=person, model=cast.large, override=override("1"), reason=WHY)
        with pytest.raises(RoleNeededError):
            services.end_price(actor=person, price=price, ends_at=None, reason=WHY)
        with pytest.raises(RoleNeededError):
            services.import_prices(actor=person)


def test_the_program_itself_only_proposes(cast: Cast) -> None:
    proposal = services.override_price(
        actor=None, model=cast.large, override=override("0.0000026"), reason="Bills say so."
    )
    assert proposal.state == ProposalState.WAITING


def test_an_override_that_ends_gives_the_list_its_place_back(cast: Cast) -> None:
    contract = enter(cast, "0.0000022", source=PriceSource.CONTRACT)
    price = Price.objects.get(proposal=contract)

    ended = services.end_price(actor=cast.ann, price=price, ends_at=None, reason="It ran out.")

    assert ended.state == ProposalState.APPLIED
    assert charged(cast.large) == Decimal("0.0000025")
    with pytest.raises(InvalidInputError, match="ended already"):
        services.end_price(actor=cast.ann, price=price, ends_at=None, reason=WHY)


def test_ending_the_only_price_needs_a_second_person(cast: Cast) -> None:
    price = Price.objects.get(model=cast.large, unit=Unit.INPUT)
    proposal = services.end_price(actor=cast.ann, price=price, ends_at=None, reason=WHY)
    assert (proposal.state, charged(cast.large)) == (ProposalState.WAITING, Decimal("0.0000025"))

    services.approve_prices(actor=second(), proposal=proposal)

    assert Price.objects.get(pk=price.pk).valid_until is not None


def test_a_planned_price_is_withdrawn_at_its_own_start(cast: Cast) -> None:
    starts = clock.now() + 10 * DAY
    price = Price.objects.get(
        proposal=enter(cast, "0.0000026", valid_from=starts, source=PriceSource.CONTRACT)
    )

    services.end_price(actor=cast.ann, price=price, ends_at=None, reason="Called off.")

    price.refresh_from_db()
    assert price.valid_until == price.valid_from == starts
    assert charged(cast.large, starts + DAY) == Decimal("0.0000025")


def test_an_override_proposal_is_refused_when_another_price_came_between(cast: Cast) -> None:
    proposal = enter(cast, "0.0000100")
    enter(cast, "0.0000028")

    with pytest.raises(StaleProposalError):
        services.approve_prices(actor=second(), proposal=proposal)


def test_prices_by_hand_from_before_get_their_author_and_reason(cast: Cast) -> None:
    mystery = LlmModelFactory.create(name="mystery", tier=cast.tier2)
    services.enter_prices(
        actor=cast.ann, model=mystery, reason=WHY,
        usd_per_unit={Unit.INPUT: Decimal("0.000001"), Unit.OUTPUT: Decimal("0.000002")},
    )  # fmt: skip
    at = clock.now() + DAY
    old = Price.objects.create(  # as the portal wrote it then
        model=mystery, unit="cached", usd_per_unit=1, valid_from=at, source=PriceSource.MANUAL,
        source_version=cast.ann.public_id,
    )  # fmt: skip
    text = MIGRATION.read_text(encoding="utf-8")

    with connection.cursor() as cursor:
        cursor.execute(text[text.index("SET CONSTRAINTS") :])

    old.refresh_from_db()
    assert (old.author, old.reason) == (cast.ann, WHY)
    with pytest.raises(DatabaseError, match="never edited"), transaction.atomic():
        Price.objects.filter(pk=old.pk).update(reason="Another.")


# -- races --------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_two_approvers_at_once_one_wins(transactional_db: None) -> None:
    tier(1)
    ann, bea, cid = second("Ann"), second("Bea"), second("Cid")
    proposal = waiting(ann)

    def approve(who: User) -> PriceProposal:
        return services.approve_prices(actor=who, proposal=proposal)

    outcomes = at_once(lambda: approve(bea), lambda: approve(cid))

    assert len(winners(outcomes)) == 1
    assert [type(error) for error in losers(outcomes)] == [AlreadyDoneError]
    assert Price.objects.filter(model__name="tested", unit="input").count() == 2


@pytest.mark.django_db(transaction=True)
def test_an_approval_and_a_rejection_at_once_do_not_both_happen(transactional_db: None) -> None:
    tier(1)
    ann, bea, cid = second("Ann"), second("Bea"), second("Cid")
    proposal = waiting(ann)

    outcomes = at_once(
        lambda: services.approve_prices(actor=bea, proposal=proposal),
        lambda: services.reject_prices(actor=cid, proposal=proposal, reason=WHY),
    )

    assert len(winners(outcomes)) == 1
    proposal.refresh_from_db()
    is_applied = proposal.state == ProposalState.APPLIED
    assert Price.objects.filter(model__name="tested", unit="input").count() == 1 + is_applied


@pytest.mark.django_db(transaction=True)
def test_an_approval_and_an_import_at_once_leave_one_price(transactional_db: None) -> None:
    tier(1)
    ann, bea = second("Ann"), second("Bea")
    proposal = waiting(ann)

    at_once(
        lambda: services.approve_prices(actor=bea, proposal=proposal),
        lambda: follow(None, "1.10"),
    )

    now = clock.now() + timedelta(seconds=1)
    live = [
        row for row in Price.objects.filter(model__name="tested", unit="input") if row.valid_until is None
    ]
    assert len(live) == 1
    assert live[0].valid_from <= now
