"""Mails about prices to administrators."""

from django.db.models import QuerySet
from django.urls import reverse

from catalog.models import PriceNotice, PriceProposal
from core import outbox
from teams.models import Role, RoleAssignment, User

WHO_APPROVES = "Another administrator approves or rejects it. Opening the page does nothing."


def tell_of_proposal(proposal: PriceProposal) -> None:
    """Tell the other administrators that a change of prices waits for one of them."""
    by = proposal.proposed_by or "The import"
    others = [person for person in _administrators() if person.pk != proposal.proposed_by_id]
    for person in others:
        outbox.put_mail(
            topic="prices.proposed",
            recipient=person.email,
            dedupe_key=f"price_proposal:{proposal.public_id}:{person.public_id}",
            subject=f"{by} proposes other prices: {proposal.title}",
            body=f"{proposal.reason}\n\n{WHO_APPROVES}",
            link=reverse("prices:proposal", args=[proposal.public_id]),
        )


def tell_of_notice(notice: PriceNotice) -> None:
    """Tell the administrators once that the nightly check of prices found something."""
    for person in _administrators():
        outbox.put_mail(
            topic="prices.notice",
            recipient=person.email,
            dedupe_key=f"price_notice:{notice.public_id}:{person.public_id}",
            subject=f"Look at the price of {notice.model}: {notice.get_kind_display().lower()}",
            body=notice.detail,
            link=reverse("prices:list"),
        )


def _administrators() -> QuerySet[User]:
    admins = RoleAssignment.objects.live().filter(role=Role.ADMIN).values("user")
    return User.objects.filter(pk__in=admins, is_active=True)
