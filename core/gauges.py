"""Shares and trends that stand in a table row or beside a figure: a percentage, a meter, a line."""

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from core.money import ZERO

EMPTY = mark_safe("")
FULL, WARNS_FROM = Decimal(100), Decimal(80)
LAST_MARK = Decimal(98)  # a mark further right would be cut off by the round end
RECT = '<rect class="{}" x="{}%" width="{}%" height="100%"/>'


def format_percent(share: Decimal) -> str:
    """Write an unrounded percentage; rounding never reaches or leaves 100: `<1%`, `87%`, `>99%`, `>100%`."""
    if 0 < share < 1:
        return "<1%"
    whole = share.quantize(Decimal(1), rounding=ROUND_HALF_EVEN)
    if whole == FULL and share != FULL:
        return ">99%" if share < FULL else ">100%"
    return f"{whole:,f}%"


def meter(
    percent: Decimal | None,
    *,
    label: str,
    mark_percent: Decimal | None = None,
    held_percent: Decimal | None = None,
) -> SafeString:
    """Draw a share of a limit: used, then held, with a mark for the forecast. Nothing without a limit.

    The colour warns from 80 % and alarms from 100 %, of used and held together, unrounded.
    """
    if percent is None:
        return EMPTY
    held = held_percent or ZERO
    used = min(max(percent, ZERO), FULL)
    tone = "bad" if percent + held >= FULL else "warn" if percent + held >= WARNS_FROM else "ok"
    drawing = format_html(RECT, f"f-{tone}", "0", f"{used:.2f}")
    if held > 0:
        drawing += format_html(RECT, "held", f"{used:.2f}", f"{min(held, FULL - used):.2f}")
    if mark_percent is not None:
        place = f"{min(max(mark_percent, ZERO), LAST_MARK):.2f}"
        drawing += format_html('<rect class="mark" x="{}%" width="2" height="100%"/>', place)
    return format_html('<svg class="bar" role="img" aria-label="{}">{}</svg>', label, drawing)


def portion(percent: Decimal | None, *, label: str) -> SafeString:
    """Draw a part of a whole that is no limit: nothing warns. Nothing without a whole."""
    if percent is None:
        return EMPTY
    drawing = format_html(RECT, "f-ok", "0", f"{min(max(percent, ZERO), FULL):.2f}")
    return format_html('<svg class="bar" role="img" aria-label="{}">{}</svg>', label, drawing)


def spark(values: Sequence[Decimal]) -> SafeString:
    """Draw a small line of equal steps from zero; one value is a dot, none is nothing.

    For the eye only: the row has the figures.
    """
    if not values:
        return EMPTY
    top = max(*values, Decimal("1e-12"))
    heights = [22 - 20 * float(max(value, ZERO) / top) for value in values]
    if len(values) == 1:
        shape = format_html('<circle cx="44" cy="{}" r="2"/>', f"{heights[0]:.1f}")
    else:
        step = 88 / (len(values) - 1)
        points = [f"{index * step:.1f} {y:.1f}" for index, y in enumerate(heights)]
        shape = format_html('<path d="M{}"/>', " L".join(points))
    return format_html('<svg class="spark" viewBox="0 0 88 24" aria-hidden="true">{}</svg>', shape)
