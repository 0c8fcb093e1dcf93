"""What each tier asks for, in words."""

from typing import Any

from approvals.models import Policy
from teams.models import Role

PHRASES = {
    Role.LEAD: "the team's lead",
    Role.DIRECTOR: "the department's director",
    Role.ADMIN: "an administrator",
    Role.FINANCE: "finance",
    Role.AUDITOR: "an auditor",
}


def approvers_by_tier() -> dict[int, str]:
    """Return who approves each tier: `the team's lead, then the department's director`. One query."""
    in_force = Policy.objects.filter(retired_at__isnull=True)
    return {policy.tier_id: ", then ".join(_phrase(stage) for stage in policy.stages) for policy in in_force}


def _phrase(stage: dict[str, Any]) -> str:
    phrase = PHRASES[Role(stage["role"])]
    return phrase if stage["quorum"] == 1 else f"{phrase} ({stage['quorum']} people)"
