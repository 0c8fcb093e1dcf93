"""Tells finance and administrators of usage outside the gateways, once for each account, key and day, and
again when it grew after somebody explained or accepted it.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal

from core import outbox
from core.money import ZERO, format_usd
from teams.models import Role, RoleAssignment, User
from usage.models import BYPASSES, DiscrepancyClass, ProviderAccount, ReconciliationRun
from usage.services.reconciliation.runs import Found, Names

TOPIC = "reconciliation.bypass"
ROLES = (Role.ADMIN, Role.FINANCE)
TEXTS = {
    DiscrepancyClass.BYPASS_UNKNOWN_KEY: (
        "On {day} the provider counted usage on key {key} of {account}, which is not registered. It did not"
        " go through a gateway: no budget held it back, and no team is charged for it. At our prices it is"
        " {amount}.\n\nFind out who has the key. Revoke it at the provider, or register it under Sources if"
        " it is used on purpose."
    ),
    DiscrepancyClass.BYPASS_SHARED_KEY: (
        "On {day} the provider counted more on key {key} of {account} than went through the gateway that"
        " holds it, by {amount} at our prices. Somebody else may have a copy of it.\n\nRotate the key at the"
        " provider, give the new one to the gateway alone, and register it under Sources."
    ),
}
AGAIN = "\n\nIt was explained or accepted before, and has grown since: it is open again."


def tell_of_bypasses(
    account: ProviderAccount, run: ReconciliationRun, found: Iterable[Found], *, reopened: Names
) -> None:
    """Queue a mail for each key with a bypass. What was told of a key and day is not told again, unless it is
    `reopened` with this run.
    """
    by_key: dict[tuple[DiscrepancyClass, str], Decimal] = defaultdict(lambda: ZERO)
    unpriced: dict[tuple[DiscrepancyClass, str], set[str]] = defaultdict(set)
    grown = set()
    for each in found:
        if each.kind in BYPASSES:
            key = str(each.detail["key"])
            by_key[each.kind, key] += each.amount_usd
            unpriced[each.kind, key] |= set(each.detail.get("unpriced", ()))
            if (each.kind.value, each.external_id) in reopened:
                grown.add((each.kind, key))
    if not by_key:
        return
    people = list(_recipients())
    for (kind, key), amount_usd in by_key.items():
        mark = hashlib.sha256(f"{kind}:{key}".encode()).hexdigest()[:24]
        amount = _amount(amount_usd, sorted(unpriced[kind, key]))
        text = TEXTS[kind].format(day=f"{run.day:%-d %B %Y}", key=key, account=account, amount=amount)
        is_again = (kind, key) in grown
        for person in people:
            outbox.put_mail(
                topic=TOPIC,
                recipient=person.email,
                dedupe_key=f"bypass:{account.public_id}:{run.day}:{mark}:{person.public_id}"
                + (f":{run.runs}" if is_again else ""),
                subject=f"Usage outside the gateways: key {key} of {account}",
                body=text + AGAIN if is_again else text,
                link=f"/reconciliation/{run.source}/{run.day}/?level=2",
            )


def _amount(amount_usd: Decimal, unpriced: Sequence[str]) -> str:
    """Write what usage is worth, and what of it no price tells the worth of."""
    if not unpriced:
        return format_usd(amount_usd)
    unknown = f"what has no price yet ({', '.join(unpriced[:5])}: enter one)"
    return f"{format_usd(amount_usd)} and {unknown}" if amount_usd else unknown


def _recipients() -> Iterable[User]:
    holders = RoleAssignment.objects.live().filter(role__in=ROLES).values("user")
    return User.objects.filter(pk__in=holders, is_active=True).order_by("pk")
