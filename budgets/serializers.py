"""How budgets and their limits look in the API. A limit of null is no limit."""

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from budgets.models import LimitKind, Mode, ScopeKind, Window
from budgets.scopes import Scopes
from budgets.types import BudgetRow, LimitRow
from core.rest.fields import Flag, Moment, PublicId, Text, Usd
from core.rest.serializers import In, Out, PageQuery

MAX_REASON_CHARACTERS = 240


class ScopeOut(Out):
    """What a budget limits; the organisation has no id."""

    kind = serializers.ChoiceField(ScopeKind.choices)
    id = serializers.CharField(allow_null=True)
    name = serializers.CharField()


class BudgetOut(Out):
    """A budget in its current window; `left_usd` is negative after an overrun or a lowered limit."""

    id = serializers.CharField(source="public_id")
    scope = serializers.SerializerMethodField()
    window = serializers.ChoiceField(Window.choices)
    time_zone = serializers.CharField()
    mode = serializers.ChoiceField(Mode.choices, help_text="What happens at the limit.")
    only = serializers.CharField(help_text="The tier or model whose calls alone count; empty for all calls.")
    limit_usd = Usd(allow_null=True)
    spent_usd = Usd()
    held_usd = Usd(help_text="Set aside for calls in flight.")
    left_usd = Usd(allow_null=True)
    window_starts_at = Moment()
    window_ends_at = Moment()
    resets_at = Moment(allow_null=True)
    in_force_since = Moment(allow_null=True)
    set_by = serializers.CharField()
    reason = serializers.CharField()

    @extend_schema_field(ScopeOut)
    def get_scope(self, row: BudgetRow) -> dict[str, str | None]:
        """Return what the budget limits, by its public id."""
        scopes: Scopes = self.context["scopes"]
        named = scopes[row.scope_kind, row.scope_id]
        return {"kind": row.scope_kind.value, "id": named.public_id, "name": named.name}


class LimitOut(Out):
    """One limit of a budget; a base limit lasts until the next one, a top-up until its end."""

    kind = serializers.SerializerMethodField()
    amount_usd = Usd(allow_null=True)
    in_force_since = Moment()
    until = Moment(allow_null=True)
    set_by = serializers.CharField(source="actor")
    reason = serializers.CharField()

    @extend_schema_field(serializers.ChoiceField(LimitKind.choices))
    def get_kind(self, row: LimitRow) -> str:
        """Return which of the two it is."""
        return LimitKind.TOP_UP.value if row.kind else LimitKind.BASE.value


class LimitsOut(Out):
    """Every limit that a budget has had, the newest first."""

    results = LimitOut(many=True)


class BudgetQuery(PageQuery):
    """Which budgets to list."""

    scope = serializers.ChoiceField(ScopeKind.choices, required=False)
    window = serializers.ChoiceField(Window.choices, required=False)
    project = PublicId("prj", required=False, help_text="That of this project itself.")
    team = PublicId("tem", required=False, help_text="That of this team itself.")


class LimitChangeIn(In):
    """A new limit, in force on the next call."""

    amount_usd = Usd(
        allow_null=True, help_text="US dollars a window; null is no limit, 0 refuses every call."
    )
    reason = Text(max_length=MAX_REASON_CHARACTERS, help_text="Kept in the history of the budget.")
    confirm = Flag(default=False, help_text="Set it although calls will be refused at once.")
