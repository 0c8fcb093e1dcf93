"""Why calls are refused, in words: one sentence for what happened, one for what to do about it."""

from dataclasses import dataclass
from enum import Enum, auto


class Remedy(Enum):
    """Where somebody acts on a refusal."""

    BUDGET = auto()
    TIER = auto()
    PRICE = auto()
    MODELS = auto()
    KEY = auto()
    NOWHERE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A code as people read it; `phrase` goes on about calls: `Most Ranking, over its budget`."""

    phrase: str
    happened: str
    to_do: str
    remedy: Remedy


REASONS = {
    "budget_exhausted": Reason(
        phrase="over its budget",
        happened="A budget had too little left for the call.",
        to_do="Wait for the next window, or have the limit raised.",
        remedy=Remedy.BUDGET,
    ),
    "budget_held": Reason(
        phrase="budget held by calls in flight",
        happened="What was left of a budget was held for calls in flight.",
        to_do="Try again in some seconds; if it stays, make fewer calls at once or have the limit raised.",
        remedy=Remedy.BUDGET,
    ),
    "tier_not_granted": Reason(
        phrase="without access to the tier",
        happened="The key may not call the tier of the model.",
        to_do="Ask for the tier, or call a model of a tier that the key may call.",
        remedy=Remedy.TIER,
    ),
    "model_unpriced": Reason(
        phrase="for a model without a price",
        happened="The model has no price in force, and what has no price is not called.",
        to_do="Have an administrator enter a price, or call another model.",
        remedy=Remedy.PRICE,
    ),
    "model_unknown": Reason(
        phrase="for a model that is not known",
        happened="There is no model of this name for the route.",
        to_do="Correct the name in the client.",
        remedy=Remedy.MODELS,
    ),
    "project_mismatch": Reason(
        phrase="with another project's key",
        happened="The call named another project than that of its key.",
        to_do="Send the key's own project id, or use a key of the other project.",
        remedy=Remedy.KEY,
    ),
    "route_not_allowed": Reason(
        phrase="on a route that is not served",
        happened="The route is not metered, so nothing passes on it.",
        to_do="Call another route, or ask an administrator for this one.",
        remedy=Remedy.NOWHERE,
    ),
    "key_suspended": Reason(
        phrase="with a suspended key",
        happened="The key is suspended.",
        to_do="Have the team's lead look at the key.",
        remedy=Remedy.KEY,
    ),
    "key_revoked": Reason(
        phrase="with a revoked key",
        happened="The key was revoked. Its caller is told only that it is not valid.",
        to_do="Issue a new key, or stop the client that still uses the old one.",
        remedy=Remedy.KEY,
    ),
    "key_expired": Reason(
        phrase="with an expired key",
        happened="The key has expired. Its caller is told only that it is not valid.",
        to_do="Issue a new key, and give it to the client.",
        remedy=Remedy.KEY,
    ),
    "key_replaced": Reason(
        phrase="with a secret that was replaced",
        happened="This secret was replaced some time ago. Its caller is told only that it is not valid.",
        to_do="Give the client the key's new secret.",
        remedy=Remedy.KEY,
    ),
    "key_owner_inactive": Reason(
        phrase="with a key of somebody who left",
        happened="The key's owner has left. Its caller is told only that it is not valid.",
        to_do="Issue a new key to somebody of the project, or stop the client.",
        remedy=Remedy.KEY,
    ),
    "key_project_archived": Reason(
        phrase="with a key of a closed project",
        happened="The key's project is closed. Its caller is told only that it is not valid.",
        to_do="Stop the client, or give it a key of a project that goes on.",
        remedy=Remedy.KEY,
    ),
    "rate_limited": Reason(
        phrase="too fast",
        happened="More calls or tokens came in a minute, or at once, than the key, project or team may make.",
        to_do="Slow the client down: it is told how long to wait.",
        remedy=Remedy.KEY,
    ),
}


def reason_of(code: str) -> Reason:
    """Return the reason of a code; one that has no words of its own is named as it is."""
    plain = code.replace("_", " ")
    return REASONS.get(code) or Reason(
        phrase=plain,
        happened=f"The call was refused: {plain}.",
        to_do="Ask an administrator.",
        remedy=Remedy.NOWHERE,
    )
