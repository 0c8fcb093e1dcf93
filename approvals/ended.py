"""What waits to go on with a key, or with access that it has, when either has ended.

The review of a broken glass is not meant: it is of what was done.
"""

from django.db.models import Exists, OuterRef, Q

from approvals.models import AccessRequest, RequestKind
from budgets.models import ScopeKind
from core import clock
from keys.models import ApiKey, KeyState

KEY_OF_THE_BUDGET_ENDED = "The key whose budget this is has ended."


def key_or_access_ended() -> Q:
    """Select requests for access whose key, or whose access that they would extend, has ended."""
    ended = Q()
    for what in ("extends_key", "extends_grant"):
        ended |= Q(**{f"{what}__revoked_at__isnull": False}) | Q(**{f"{what}__expires_at__lte": clock.now()})
    return ended & ~Q(kind=RequestKind.BREAK_GLASS)


def key_of_the_budget_ended() -> Q:
    """Select requests for more of the budget of a key that has ended."""
    over = Q(revoked_at__isnull=False) | Q(expires_at__lte=clock.now())
    keys = ApiKey.objects.filter(over, pk=OuterRef("budget__scope_id"))
    return Q(budget__scope_kind=ScopeKind.KEY) & Q(Exists(keys))


def what_ended(request: AccessRequest) -> str:
    """Say what a request selected by `key_or_access_ended` cannot go on with."""
    key = request.extends_key
    if key is not None and key.state in (KeyState.REVOKED, KeyState.EXPIRED):
        how = "was revoked" if key.revoked_at else "has expired"
        return f"The key {key.name} {how}. Ask for access with another key."
    return "The access that it would extend has ended. Ask for access again."
