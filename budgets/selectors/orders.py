"""By what budgets that `budget_rows` reads are sorted, in SQL."""

from collections.abc import Mapping
from decimal import Decimal

from django.db.models import Case, DecimalField, Expression, ExpressionWrapper, F, Q, Value, When
from django.db.models.functions import Coalesce, Collate

from budgets.models import Window
from core.money import ZERO
from core.sorting import Order

BY_NAME = Order(name="name", falls=False)
SPENT, HELD = (Coalesce(F(name), Value(ZERO)) for name in ("spent_usd", "held_usd"))
SORTED_BY: Mapping[str, Expression] = {
    "name": Collate(F("scope_name"), "C"),
    "limit": ExpressionWrapper(F("limit_usd"), output_field=DecimalField()),
    "spent": SPENT,
    "held": HELD,
    "left": F("limit_usd") - SPENT - HELD,
    "used": Case(
        When(
            limit_usd=ZERO, then=Case(When(spent_usd__gt=ZERO, then=Value(Decimal(1))), default=Value(ZERO))
        ),
        default=SPENT / F("limit_usd"),
        output_field=DecimalField(),
    ),
    "resets": Case(When(~Q(window=Window.LIFETIME), then=F("ends_at"))),
}
