"""What may be granted now of what was asked for: less, or nothing, where rules or people changed since."""

from dataclasses import dataclass
from decimal import Decimal

from approvals.eligibility import stages_of
from approvals.models import AccessRequest, RequestKind
from approvals.rules import in_force, missing_in
from core.money import format_usd
from core.words import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """The most days and US dollars a month that may be granted now, of what was asked for."""

    days: int
    monthly_usd: Decimal


def allowed_of(request: AccessRequest) -> Allowed:
    """Return the most that may be granted: by the pinned stages and by the policy in force."""
    days, usd = min(stage.max_days for stage in stages_of(request)), request.expected_monthly_usd
    now = in_force(request)
    if now is None:
        return Allowed(days=days, monthly_usd=usd)
    most = now.max_monthly_usd
    return Allowed(days=min(days, now.max_days), monthly_usd=usd if most is None else min(usd, most))


def lowered(request: AccessRequest, allowed: Allowed) -> tuple[str, ...]:
    """Say what is given less than was asked for; a broken glass gave its access already."""
    if request.kind == RequestKind.BREAK_GLASS:
        return ()
    days, usd, said = allowed.days, allowed.monthly_usd, []
    if days < request.duration_days:
        said.append(f"{request.tier} allows {counted(days, 'day')} now; access will end then.")
    if usd < request.expected_monthly_usd:
        said.append(f"{request.tier} allows {format_usd(usd)} a month now; access has that cap.")
    return tuple(said)


def refusals(request: AccessRequest) -> tuple[str, ...]:
    """Say why decide() counts no approval of a request now, whoever gives it; none where it does."""
    person, team, missing = request.beneficiary, request.project.team, missing_in(request)
    gone = f"{person} does not work in team {team} any more: it can only be denied."
    lacks = f"It needs {missing} by the rules now: {request.requester} has to change it."
    return (*(() if request.beneficiary_works else (gone,)), *((lacks,) if missing else ()))
