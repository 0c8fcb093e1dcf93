"""What is said about a request: questions and answers, and the offer of a lower tier instead."""

from decimal import Decimal

from django.db import transaction

from approvals.eligibility import deciders, who_can
from approvals.models import AccessRequest, Comment
from approvals.services.closing import close
from approvals.services.common import locked, record, require_open
from approvals.services.mails import tell_of_comment
from approvals.services.submitting import locked_place, submit
from approvals.services.withdrawing import require_requester
from catalog.models import Tier
from core import clock
from core.errors import AlreadyDoneError, InvalidInputError
from keys.selectors import DEFAULT_TIER
from teams.models import User
from teams.selectors import role_holders
from teams.services.members import locked_person

MAX_TEXT_CHARACTERS = 2_000


@transaction.atomic
def comment(*, actor: User, request: AccessRequest, text: str, offered_tier: Tier | None = None) -> Comment:
    """Ask or answer something about a pending request, or offer a lower tier instead of it.

    Whoever sees the request may speak (the caller has checked that); only who may decide it now offers. It
    changes nothing of the request. Raises InvalidInputError, AlreadyDecidedError, GoneError.
    """
    mine = locked(request)
    require_open(mine)
    words = text.strip()
    if not words or len(words) > MAX_TEXT_CHARACTERS:
        raise InvalidInputError(
            f"Enter what you want to say, in up to {MAX_TEXT_CHARACTERS:,} characters.", field="text"
        )
    if offered_tier is not None:
        _require_offer(actor, mine, offered_tier)
    said = Comment.objects.create(
        request=mine,
        revision=mine.revision,
        author=actor,
        text=words,
        offered_tier=offered_tier,
        at=clock.now(),
    )
    tier = offered_tier.number if offered_tier else None
    after = {"comment": said, "revision": mine.revision, "offered_tier": tier}
    record(actor, "request.offered" if offered_tier else "request.commented", mine, after=after, reason=words)
    tell_of_comment(said, _listeners(mine, actor))
    return said


@transaction.atomic
def accept_offer(*, actor: User, offer: Comment, expected_monthly_usd: Decimal) -> AccessRequest | None:
    """Take the lower tier that was offered: the request is closed as superseded, another one asks for that.

    Only the requester may. It asks for every model of that tier, for as long as its policy lets it; Tier 1
    needs no request, so None is returned. Raises what submit() raises, and AlreadyDoneError for an offer that
    was made before the request changed.
    """
    locked_place(offer.request.project)  # what it asks for next locks both before the request, as everywhere
    locked_person(actor)
    mine = locked(offer.request)
    require_requester(actor, mine)
    require_open(mine)
    if offer.offered_tier is None or offer.revision != mine.revision:
        raise AlreadyDoneError("This offer was made before the request changed. Ask for it again.")
    close(mine, f"{actor} took {offer.offered_tier} instead, as {offer.author} offered.", actor=actor)
    if offer.offered_tier.number == DEFAULT_TIER:
        return None
    return submit(
        actor=actor,
        project=mine.project,
        tier=offer.offered_tier,
        reason=mine.reason,
        expected_monthly_usd=min(expected_monthly_usd, mine.expected_monthly_usd),
        extends_key=mine.extends_key,
        ticket=mine.ticket,
    )


def _require_offer(actor: User, request: AccessRequest, tier: Tier) -> None:
    if tier.number >= request.tier_id:
        raise InvalidInputError(f"Offer a tier below {request.tier}.", field="offered_tier")
    if actor.pk not in deciders(request, role_holders(request.project)):
        raise InvalidInputError("Only who may decide this request now offers something else.")


def _listeners(request: AccessRequest, speaker: User) -> list[User]:
    """Return whom a comment is for: the requester hears the others, and who spoke or may decide hears him."""
    if speaker.pk not in request.askers:
        return [request.requester]
    spoke = User.objects.filter(pk__in=request.comments.values("author"), is_active=True)
    people = {person.pk: person for person in (*who_can(request), *spoke)}
    return [person for pk, person in sorted(people.items()) if pk != speaker.pk]
