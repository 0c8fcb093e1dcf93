"""What pages and messages call the windows of budgets, and what happens at a limit."""

from budgets.models import Mode, Window

WINDOW_TEXTS = {
    Window.DAY: "each day",
    Window.WEEK: "each week",
    Window.MONTH: "each month",
    Window.QUARTER: "each quarter",
    Window.FISCAL_YEAR: "each fiscal year",
    Window.LIFETIME: "in all",
}
MODE_TEXTS = {
    Mode.HARD: "Calls are refused with 429 until the window starts again or the limit is raised.",
    Mode.SOFT: "Calls go on and carry a warning.",
    Mode.NOTIFY: "Calls go on; the people in charge are told.",
}
