"""How budgets share what is above them: how much of a limit is handed out, and what a change would break.

A budget is *above* another of the same window when its scope is wider and contains the other's, and every
call that counts on the other counts on it too, as far as filters go. Anchors and time zones of windows may
differ: a month is a month. A budget that only tells (notify) and one without a limit neither bind nor count.

* Whatever the policy, no limit is above that of a budget above it.
* `strict`: the limits of its *children* add up to its own limit at most; `overcommit`: to `overcommit_ratio`
  times it; `pool`: to anything.
* Its children are the budgets below it with no other budget in between, so that money is counted once:
  a team's are those of its projects, and those of the keys of projects that have none; the organisation's
  are those of the departments, and of the teams of departments that have none. In between is a budget that
  is below the one and above the other, and also one of the same scope with a wider filter: beside a
  project's own month budget, its month budget for one tier hands nothing more out. Two of the same scope and
  filter (a hard one and a soft one) count once, with the larger limit. A tier and a model count side by side.
* A lead hands out the limit of his team as if it were strict, whatever its policy.

Limits are dated, so all this holds at every moment from now on: plans and the ends of top-ups are looked at
too. What is broken already (a project moved to another team) does not forbid a change that makes it better.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from budgets.models import Allocation, Mode, ScopeKind, Window
from budgets.schedules import Schedule, Step
from budgets.types import ScopePlace
from core.money import SCALE, ZERO, format_usd

Claim = tuple["Node", Decimal]
Scope = tuple[ScopeKind, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A budget as others meet it: where it stands, which calls count on it, its rules, its limit over time.

    One that is being opened has the id 0.
    """

    id: int
    place: ScopePlace
    name: str
    window: Window
    only_tier: int | None
    only_model_id: int | None
    mode: Mode
    allocation: Allocation
    overcommit_ratio: Decimal
    schedule: Schedule

    def plus(self, step: Step) -> "Node":
        """Return the budget as it is with another limit."""
        return replace(self, schedule=self.schedule.plus(step))

    def limit_at(self, at: datetime) -> Decimal | None:
        """Return what binds at a moment; None where nothing does."""
        return None if self.mode is Mode.NOTIFY else self.schedule.limit_at(at)

    def allowance_at(self, at: datetime) -> Decimal | None:
        """Return what may be handed out at a moment; None is anything."""
        limit_usd = self.limit_at(at)
        if limit_usd is None or self.allocation is Allocation.POOL:
            return None
        return limit_usd * self.overcommit_ratio

    def covers(self, other: "Node") -> bool:
        """Whether every call that counts on `other` counts here too, as far as filters go."""
        return self.only_tier in {None, other.only_tier} and self.only_model_id in {
            None,
            other.only_model_id,
        }

    def is_above(self, other: "Node") -> bool:
        """Whether this budget binds `other` from a wider scope."""
        return (
            self.place.scope != other.place.scope
            and self.place.scope in other.place.chain
            and self.covers(other)
        )

    def is_twin_of(self, other: "Node") -> bool:
        """Whether both are for the same calls."""
        same_scope = self.place.scope == other.place.scope
        return self.id != other.id and same_scope and self.covers(other) and other.covers(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A bound on a limit in US dollars at a moment, a sentence that says where it comes from, and whose key
    it is; `advice` is what to do first.
    """

    usd: Decimal
    why: str
    key_ids: tuple[int, ...] = ()
    advice: str = "Lower that one first."


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """By how much limits go beyond what one above them allows; below 0 is room.

    `of` is the budget above and the one below, or 0 for all that it handed out.
    """

    of: tuple[int, int]
    excess_usd: Decimal
    why: str


def handed_out(parent: Node, around: Sequence[Node], at: datetime) -> Decimal:
    """Return what the limits of a budget's children add up to at a moment."""
    return sum((usd for _, usd in _children(parent, _claims(around, at))), ZERO)


def bounds_above(node: Node, around: Sequence[Node], at: datetime) -> Iterator[Bound]:
    """Give what a limit of `node` may not exceed at a moment, whatever it is now."""
    for parent in around:
        limit_usd = parent.limit_at(at)
        if limit_usd is None or not parent.is_above(node):
            continue
        yield Bound(
            usd=limit_usd, why=f"the {_window(parent)} limit of {parent.name} is {format_usd(limit_usd)}"
        )
        allowance_usd = parent.allowance_at(at)
        others_usd = _handed_to_others(parent, node, around, at)
        if allowance_usd is not None and others_usd is not None:
            yield Bound(
                usd=max(allowance_usd - others_usd, ZERO).quantize(SCALE, rounding=ROUND_FLOOR),
                why=f"{_share(parent, limit_usd, allowance_usd)}, of which {format_usd(others_usd)} is"
                " allocated to others",
            )


def bounds_below(node: Node, around: Sequence[Node], at: datetime) -> Iterator[Bound]:
    """Give what a limit of `node` may not fall below at a moment, whatever it is now."""
    below = [(other, usd) for other, usd in _claims(around, at) if node.is_above(other)]
    for other, usd in below:
        is_key = other.place.kind is ScopeKind.KEY
        yield Bound(
            usd=usd,
            why=f"the {_window(other)} limit of {'a key' if is_key else other.name} is {format_usd(usd)}",
            key_ids=(other.place.id,) if is_key else (),
        )
    if node.allocation is not Allocation.POOL and below:
        total_usd = handed_out(node, around, at)
        factor = (
            f", and may be {node.overcommit_ratio.normalize():f} times it"
            if node.overcommit_ratio > 1
            else ""
        )
        yield Bound(
            usd=(total_usd / node.overcommit_ratio).quantize(SCALE, rounding=ROUND_CEILING),
            why=f"{format_usd(total_usd)} is allocated to the budgets below it{factor}",
            advice="Lower those first.",
        )


def bounds_of_lead(node: Node, around: Sequence[Node], at: datetime) -> Iterator[Bound]:
    """Give what a lead may not exceed at a moment: what his team's limit leaves a project."""
    if node.place.kind is not ScopeKind.PROJECT:
        return
    team_id = node.place.team_id
    unfiltered = [
        claim for claim in _claims(around, at) if _is_for_all(claim[0]) and claim[0].place.team_id == team_id
    ]
    largest: dict[int, Decimal] = {}
    for other, usd in unfiltered:
        if other.place.kind is ScopeKind.PROJECT and other.place.id != node.place.id:
            largest[other.place.id] = max(largest.get(other.place.id, ZERO), usd)
    allocated_usd = sum(largest.values(), ZERO)
    for team, usd in unfiltered:
        if team.place.kind is ScopeKind.TEAM:
            yield Bound(
                usd=max(usd - allocated_usd, ZERO),
                why=f"{team.name} has {format_usd(usd)} a {_window(team)}, of which"
                f" {format_usd(allocated_usd)} is allocated to its other projects",
            )


def pressures(scope: Scope, around: Sequence[Node], at: datetime) -> Iterator[Pressure]:
    """Give how the limits of a scope and of all inside it press on those above the scope at a moment."""
    claims = _claims(around, at)
    own = [claim for claim in claims if scope in claim[0].place.chain]
    for parent, limit_usd in claims:
        has = format_usd(limit_usd)
        is_inside = scope in parent.place.chain
        below = [] if is_inside else [claim for claim in own if parent.is_above(claim[0])]
        for node, usd in below:
            name = "a key" if node.place.kind is ScopeKind.KEY else node.name
            yield Pressure(
                of=(parent.id, node.id),
                excess_usd=usd - limit_usd,
                why=f"{name} has {format_usd(usd)} a {_window(parent)}, {parent.name} {has}",
            )
        allowance_usd = parent.allowance_at(at) if below else None
        if allowance_usd is not None:
            total_usd, share = handed_out(parent, around, at), _share(parent, limit_usd, allowance_usd)
            yield Pressure(
                of=(parent.id, 0),
                excess_usd=total_usd - allowance_usd,
                why=f"{share}, and {format_usd(total_usd)} would be allocated",
            )


def outgrown(node: Node, around: Sequence[Node], at: datetime) -> Bound | None:
    """Return the allowance that would be exceeded at a moment if `node` no longer had a limit.

    What is below it then counts on what is above it. The bound is the allowance.
    """
    rest = [other for other in around if other.id != node.id]
    for parent in rest:
        allowance_usd, limit_usd = parent.allowance_at(at), parent.limit_at(at)
        if allowance_usd is None or limit_usd is None or not parent.is_above(node):
            continue
        before_usd, after_usd = handed_out(parent, [*rest, node], at), handed_out(parent, rest, at)
        if after_usd > max(allowance_usd, before_usd):
            why = (
                f"{_share(parent, limit_usd, allowance_usd)}, and {format_usd(after_usd)} would be allocated"
            )
            return Bound(usd=allowance_usd, why=why)
    return None


def _claims(nodes: Iterable[Node], at: datetime) -> list[Claim]:
    found = ((node, node.limit_at(at)) for node in nodes)
    return [(node, usd) for node, usd in found if usd is not None]


def _children(parent: Node, claims: Iterable[Claim]) -> list[Claim]:
    """Return those below `parent` with nothing in between."""
    below = [claim for claim in claims if parent.is_above(claim[0])]
    by_scope: dict[Scope, list[Claim]] = {}
    for claim in below:
        by_scope.setdefault(claim[0].place.scope, []).append(claim)
    return [
        claim
        for claim in below
        if not any(
            _outranks(other, claim) for scope in claim[0].place.chain for other in by_scope.get(scope, ())
        )
    ]


def _outranks(one: Claim, other: Claim) -> bool:
    """Whether `one`, whose scope contains that of `other`, already counts for its calls."""
    if one[0].id == other[0].id or not one[0].covers(other[0]):
        return False
    if one[0].is_twin_of(other[0]):
        return (one[1], one[0].id) > (other[1], other[0].id)
    return True


def _handed_to_others(parent: Node, node: Node, around: Sequence[Node], at: datetime) -> Decimal | None:
    """Return what the children of `parent` besides `node` have; None where `node` is none of them."""
    others = [
        claim for claim in _claims(around, at) if claim[0].id != node.id and not claim[0].is_twin_of(node)
    ]
    children = _children(parent, [*others, (node, ZERO)])
    if all(child.id != node.id for child, _ in children):
        return None
    return sum((usd for _, usd in children), ZERO)


def _is_for_all(node: Node) -> bool:
    return node.only_tier is None and node.only_model_id is None


def _share(parent: Node, limit_usd: Decimal, allowance_usd: Decimal) -> str:
    if parent.allocation is Allocation.STRICT:
        return f"{parent.name} has {format_usd(limit_usd)} a {_window(parent)}"
    return (
        f"{parent.name} may hand out {format_usd(allowance_usd)} a {_window(parent)},"
        f" {parent.overcommit_ratio.normalize():f} times its limit"
    )


def _window(node: Node) -> str:
    return node.window.label.lower()
