"""Charts as SVG text made by the server: no script, no inline style, only attributes and classes of the CSS.

Money comes in as Decimal and only pixel positions are floats. Each day carries its figures in `data-tip`,
which `portal.js` shows on hover and by arrow keys; without script the page's table has the same figures.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_CEILING, Decimal
from itertools import accumulate

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from core.gauges import format_percent
from core.money import ZERO, format_usd

NICE_STEPS = (Decimal(1), Decimal(2), Decimal("2.5"), Decimal(5), Decimal(10))
TIER_CLASSES = ("t1", "t2", "t3")
EMPTY = mark_safe("")
LABEL_HEIGHT = 13
RECT = '<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>'
NOTHING = "Nothing spent yet"
CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySpend:
    """What one day cost, in US dollars, Tier 1 first."""

    day: date
    by_tier_usd: tuple[Decimal, ...]

    @property
    def total_usd(self) -> Decimal:
        """Return the cost of the day over all tiers."""
        return sum(self.by_tier_usd, ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Where the period is expected to end, with its range, in US dollars."""

    end_usd: Decimal
    low_usd: Decimal
    high_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnUp:
    """Spend to date against a budget, first_day to last_day, both included; `days` follow from the first."""

    first_day: date
    last_day: date
    days: tuple[DaySpend, ...]
    budget_usd: Decimal | None = None
    alert_usd: Decimal | None = None
    forecast: Forecast | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stacked:
    """Spend by day and tier, first_day to last_day, both included; `tier_names` label a day's tiers."""

    first_day: date
    last_day: date
    days: tuple[DaySpend, ...]
    tier_names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The size of a drawing in its own units, the margins around the plot, and how many labels fit below."""

    css: str
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    day_labels: int
    bar_gap: float

    @property
    def plot_width(self) -> int:
        """Return the width between the margins."""
        return self.width - self.left - self.right

    @property
    def floor(self) -> int:
        """Return the y of zero dollars."""
        return self.height - self.bottom

    def y(self, amount_usd: Decimal, top_usd: Decimal) -> float:
        """Return the y of an amount on an axis from 0 to `top_usd`."""
        return self.floor - (self.floor - self.top) * float(amount_usd / top_usd)


WIDE = Frame(
    css="w-wide", width=760, height=250, left=52, right=16, top=14, bottom=26, day_labels=5, bar_gap=2
)
NARROW = Frame(
    css="w-narrow", width=350, height=220, left=44, right=8, top=14, bottom=26, day_labels=3, bar_gap=0.7
)


def nice_ticks(highest: Decimal, *, intervals: int = 5) -> list[Decimal]:
    """Return round axis values from 0 to at least `highest`, in steps of 1, 2, 2.5 or 5 times 10^n."""
    if highest <= 0:
        return [ZERO, Decimal(1)]
    rough = highest / intervals
    power = Decimal(1).scaleb(rough.adjusted())
    step = next(nice * power for nice in NICE_STEPS if nice * power >= rough)
    count = int((highest / step).to_integral_value(rounding=ROUND_CEILING))
    return [step * number for number in range(count + 1)]


def axis_label(amount_usd: Decimal) -> str:
    """Write an axis value shortly: `$250`, `$2.5k`, `$1M`, `$0.05`."""
    for size, letter in ((Decimal(10**9), "B"), (Decimal(10**6), "M"), (Decimal(1000), "k")):
        if amount_usd >= size:
            return f"${_plain(amount_usd / size)}{letter}"
    whole = amount_usd == amount_usd.to_integral_value()
    return f"${_plain(amount_usd)}" if whole or amount_usd < CENT else f"${amount_usd:.2f}"


def line_label(amount_usd: Decimal) -> str:
    """Write a budget without cents when it has none."""
    return format_usd(amount_usd, places=0 if amount_usd == amount_usd.to_integral_value() else 2)


def burn_up(chart: BurnUp, *, summary: str) -> SafeString:
    """Draw spend to date, the budget, its alert line and the forecast band, once wide and once narrow.

    `summary` is what a screen reader says instead.
    """
    return _pair(_burn_up(chart, WIDE, summary), _burn_up(chart, NARROW, summary))


def stacked(chart: Stacked, *, summary: str) -> SafeString:
    """Draw a bar a day, stacked by tier, once wide and once narrow; `summary` is for screen readers."""
    return _pair(_stacked(chart, WIDE, summary), _stacked(chart, NARROW, summary))


def _burn_up(chart: BurnUp, frame: Frame, summary: str) -> SafeString:
    sums = list(accumulate((day.total_usd for day in chart.days), initial=ZERO))[1:]
    high_usd = chart.forecast.high_usd if chart.forecast else None
    known = [chart.budget_usd, chart.alert_usd, high_usd, *sums]
    ticks = nice_ticks(max((amount for amount in known if amount is not None), default=ZERO))
    length = (chart.last_day - chart.first_day).days + 1
    step = frame.plot_width / max(length - 1, 1)
    centres = [frame.left + step * index for index in range(length)]
    tips = [_burn_up_tip(chart, day, total) for day, total in zip(chart.days, sums, strict=True)]
    parts = [
        _axis(frame, ticks),
        _day_labels(frame, chart.first_day, centres),
        _spent(frame, list(zip(centres, sums, strict=False)), ticks[-1]),
        _forecast(frame, chart.forecast, centres, sums, ticks[-1]),
        _limit_lines(frame, chart, ticks[-1]),
        _hits(frame, centres, step, tips),
    ]
    return _svg(frame, summary, parts, empty="" if any(sums) else NOTHING)


def _spent(frame: Frame, points: list[tuple[float, Decimal]], top_usd: Decimal) -> SafeString:
    if not points:
        return EMPTY
    places = [(x, frame.y(total, top_usd)) for x, total in points]
    if len(places) == 1:
        return format_html(
            '<circle class="dot" cx="{}" cy="{}" r="4"/>', _px(places[0][0]), _px(places[0][1])
        )
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    area = f"{places[0][0]:.1f},{frame.floor} {line} {places[-1][0]:.1f},{frame.floor}"
    return format_html('<polygon class="area" points="{}"/><polyline class="line" points="{}"/>', area, line)


def _forecast(
    frame: Frame, forecast: Forecast | None, centres: list[float], sums: list[Decimal], top_usd: Decimal
) -> SafeString:
    if forecast is None or not sums or len(sums) >= len(centres):
        return EMPTY
    x, y, end = centres[len(sums) - 1], frame.y(sums[-1], top_usd), centres[-1]
    high, low = frame.y(forecast.high_usd, top_usd), frame.y(forecast.low_usd, top_usd)
    band = f"{x:.1f},{y:.1f} {end:.1f},{high:.1f} {end:.1f},{low:.1f}"
    line = _px(x), _px(y), _px(end), _px(frame.y(forecast.end_usd, top_usd))
    return format_html(
        '<polygon class="band" points="{}"/><line class="fc" x1="{}" y1="{}" x2="{}" y2="{}"/>', band, *line
    )


def _limit_lines(frame: Frame, chart: BurnUp, top_usd: Decimal) -> SafeString:
    """Draw the budget, labelled above, and the alert line, labelled below: close lines stay legible."""
    parts = []
    if chart.alert_usd is not None:
        y = frame.y(chart.alert_usd, top_usd)
        text_y = min(y + LABEL_HEIGHT, frame.floor - 3)
        parts.append(_level(frame, "soft", y, text_y, f"Alert at {line_label(chart.alert_usd)}"))
    if chart.budget_usd is not None:
        y = frame.y(chart.budget_usd, top_usd)
        parts.append(_level(frame, "limit", y, y - 5, f"Budget {line_label(chart.budget_usd)}"))
    return _join(parts)


def _level(frame: Frame, css: str, y: float, text_y: float, text: str) -> SafeString:
    return format_html(
        '<line class="{0}" x1="{1}" x2="{2}" y1="{3}" y2="{3}"/>'
        '<text class="{0}-t" x="{4}" y="{5}">{6}</text>',
        css, frame.left, frame.width - frame.right, _px(y), frame.left + 4, _px(text_y), text,
    )  # fmt: skip


def _burn_up_tip(chart: BurnUp, day: DaySpend, total_usd: Decimal) -> str:
    lines = [f"{day.day:%-d %b}", f"Day {format_usd(day.total_usd)}", f"To date {format_usd(total_usd)}"]
    if chart.budget_usd:
        lines.append(f"{format_percent(100 * total_usd / chart.budget_usd)} of budget")
    return "\n".join(lines)


def _stacked(chart: Stacked, frame: Frame, summary: str) -> SafeString:
    ticks = nice_ticks(max((day.total_usd for day in chart.days), default=ZERO))
    length = (chart.last_day - chart.first_day).days + 1
    step = frame.plot_width / length
    centres = [frame.left + step * (index + 0.5) for index in range(length)]
    width = max(step - 2 * frame.bar_gap, 1)
    parts = [_axis(frame, ticks), _day_labels(frame, chart.first_day, centres)]
    bars = zip(chart.days, centres, strict=False)
    parts += [_bar(frame, day, x - width / 2, width, ticks[-1]) for day, x in bars]
    parts.append(_hits(frame, centres, step, [_stacked_tip(chart, day) for day in chart.days]))
    return _svg(frame, summary, parts, empty="" if any(day.total_usd for day in chart.days) else NOTHING)


def _bar(frame: Frame, day: DaySpend, x: float, width: float, top_usd: Decimal) -> SafeString:
    parts = []
    below = ZERO
    for index, amount in enumerate(day.by_tier_usd):
        if amount > 0:
            upper, lower = frame.y(below + amount, top_usd), frame.y(below, top_usd)
            css = TIER_CLASSES[min(index, len(TIER_CLASSES) - 1)]
            place = _px(x), _px(upper), _px(width), _px(max(lower - upper - 1, 0.5))
            parts.append(format_html(RECT, css, *place))
        below += amount
    return _join(parts)


def _stacked_tip(chart: Stacked, day: DaySpend) -> str:
    named = zip(chart.tier_names, day.by_tier_usd, strict=True)
    lines = [f"{name} {format_usd(amount)}" for name, amount in named]
    return "\n".join([f"{day.day:%-d %b} {format_usd(day.total_usd)}", *lines])


def _axis(frame: Frame, ticks: list[Decimal]) -> SafeString:
    return format_html_join(
        "",
        '<line class="grid" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>'
        '<text x="{3}" y="{4}" text-anchor="end">{5}</text>',
        (
            (frame.left, frame.width - frame.right, _px(y), frame.left - 8, _px(y + 4), axis_label(tick))
            for tick, y in ((tick, frame.y(tick, ticks[-1])) for tick in ticks)
        ),
    )


def _day_labels(frame: Frame, first_day: date, centres: list[float]) -> SafeString:
    every = max(1, -(-(len(centres) - 1) // (frame.day_labels - 1)))
    shown = range(0, len(centres), every)
    labels = [(centres[index], f"{first_day + timedelta(days=index):%-d %b}") for index in shown]
    return format_html_join(
        "",
        '<text x="{}" y="{}" text-anchor="middle">{}</text>',
        ((_px(x), frame.height - 6, text) for x, text in labels),
    )


def _hits(frame: Frame, centres: list[float], width: float, tips: list[str]) -> SafeString:
    """Lay an invisible column over each day, with the text that the pointer and the arrow keys show."""
    height = frame.floor - frame.top
    columns = format_html_join(
        "",
        '<rect class="hit" x="{}" y="{}" width="{}" height="{}" data-tip="{}"/>',
        (
            (_px(x - width / 2), frame.top, _px(width), height, tip)
            for x, tip in zip(centres, tips, strict=False)
        ),
    )
    return format_html('{}<line class="cur" y1="{}" y2="{}"/>', columns, frame.top, frame.floor)


def _svg(frame: Frame, summary: str, parts: Iterable[SafeString], *, empty: str) -> SafeString:
    middle = (frame.left + frame.plot_width // 2, (frame.top + frame.floor) // 2)
    note = format_html('<text class="none" x="{}" y="{}">{}</text>', *middle, empty) if empty else EMPTY
    size = f"0 0 {frame.width} {frame.height}"
    drawing = _join([*parts, note])
    return format_html(
        '<svg class="{}" viewBox="{}" role="img" aria-label="{}">{}</svg>', frame.css, size, summary, drawing
    )


def _pair(wide: SafeString, narrow: SafeString) -> SafeString:
    return format_html("{}{}", wide, narrow)


def _join(parts: Iterable[SafeString]) -> SafeString:
    return format_html_join("", "{}", ((part,) for part in parts))


def _px(position: float) -> str:
    return f"{position:.1f}"


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"
