"""Who works at Northwind and on what. Plain data, chosen so that every page has something to say."""

from dataclasses import dataclass

from teams.models import Role

DOMAIN = "northwind.example"

PEOPLE = {
    "ann": "Ann Keller",
    "fay": "Fay Tanaka",
    "audrey": "Audrey Novak",
    "cleo": "Cleo Hart",
    "olga": "Olga Brandt",
    "ben": "Ben Okafor",
    "ada": "Ada Moreno",
    "ivo": "Ivo Petrov",
    "grace": "Grace Adeyemi",
    "sam": "Sam Osei",
    "tom": "Tom Hale",
    "eve": "Eve Lind",
    "dan": "Dan Fischer",
    "mei": "Mei Lin",
    "hugo": "Hugo Martin",
    "nina": "Nina Rao",
}
DEPARTMENTS = {"product": "Product", "operations": "Operations"}
# Code: name, department, lead, members.
TEAMS = {
    "search": ("Search", "product", "ben", ("ben", "ada", "ivo")),
    "support": ("Support", "product", "grace", ("grace", "sam", "tom")),
    "payments": ("Payments", "operations", "eve", ("eve", "dan", "mei")),
    "data": ("Data platform", "operations", "hugo", ("hugo", "nina")),
}
DIRECTORS = {"product": "cleo", "operations": "olga"}
EVERYWHERE = {"fay": Role.FINANCE, "audrey": Role.AUDITOR}
# Whoever sets the installation up is its first administrator, and the actor of what is set up.
ADMINISTRATOR = "ann"

DAYS = 60  # of usage

OFFICE = (1, 1, 1, 1, 1, 2, 4, 8, 16, 24, 27, 26, 20, 24, 27, 26, 23, 17, 10, 6, 4, 3, 2, 1)
NIGHT = (30, 30, 26, 20, 12, 6, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 6, 10, 14, 20, 26)
STEADY = (6, 5, 5, 5, 5, 6, 8, 9, 10, 11, 11, 11, 10, 11, 11, 11, 10, 10, 9, 9, 8, 8, 7, 6)
# Monday first.
WORKDAYS = (1.1, 1.15, 1.15, 1.1, 0.95, 0.15, 0.1)
EVERY_DAY = (1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.75)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStory:
    """A key: whose, how it is called, what it is granted, and its share of the project's calls.

    Where that is next to nothing, the access review asks whether the grant is needed.
    """

    owner: str
    name: str
    tier: int = 1
    share: float = 1.0
    expires_in_days: int = 104


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectStory:
    """A project and its usage: calls on a usual day, tokens of a usual call, models with their shares."""

    code: str
    name: str
    team: str
    owner: str
    cost_centre: str
    keys: tuple[KeyStory, ...]
    models: tuple[tuple[str, float], ...]
    calls_per_day: float
    input_tokens: int
    output_tokens: int
    cached_share: float = 0.0
    hours: tuple[int, ...] = OFFICE
    weekdays: tuple[float, ...] = WORKDAYS
    growth_per_day: float = 0.0
    days: int = DAYS

    def days_of(self, all_days: int) -> int:
        """Return how long ago the project began calling: with the first calls, unless it is a young one."""
        return all_days if self.days == DAYS else min(self.days, all_days)


PROJECTS = (
    ProjectStory(
        code="search-rank", name="Search ranking", team="search", owner="ada", cost_centre="CC-1100",
        keys=(
            KeyStory(owner="ada", name="search-rank production", tier=2, share=0.7),
            KeyStory(owner="ivo", name="search-rank evaluation", tier=2, share=0.3),
            KeyStory(owner="ivo", name="search-rank prototype", tier=2, share=0.0),
        ),
        models=(("gpt-6.1-sol", 0.55), ("claude-sonnet-5-5", 0.35), ("gemini-3.8-flash", 0.1)),
        calls_per_day=66, input_tokens=112_000, output_tokens=3_850, cached_share=0.5, hours=STEADY,
        weekdays=EVERY_DAY, growth_per_day=0.009,
    ),
    ProjectStory(
        code="query-help", name="Query helper", team="search", owner="ben", cost_centre="CC-1100",
        keys=(KeyStory(owner="ada", name="query-help"),),
        models=(("gpt-5.4-mini", 0.6), ("gpt-6-luna", 0.4)),
        calls_per_day=42, input_tokens=14_000, output_tokens=1_100, cached_share=0.3,
    ),
    ProjectStory(
        code="catalogue-tags", name="Catalogue tags", team="search", owner="ivo", cost_centre="CC-1120",
        keys=(KeyStory(owner="ivo", name="catalogue-tags nightly", expires_in_days=5),),
        models=(("gpt-6-luna", 0.6), ("gemini-3.5-flash-lite", 0.4)),
        calls_per_day=38, input_tokens=22_000, output_tokens=550, hours=NIGHT, weekdays=EVERY_DAY,
    ),
    ProjectStory(
        code="support-bot", name="Support bot", team="support", owner="grace", cost_centre="CC-1200",
        keys=(
            KeyStory(owner="sam", name="support-bot production", tier=2, share=0.85),
            KeyStory(owner="tom", name="support-bot staging", tier=2, share=0.149),
            KeyStory(owner="sam", name="support-bot load tests", tier=2, share=0.001),
        ),
        models=(("claude-sonnet-5-5", 0.6), ("gpt-6.1-terra", 0.4)),
        calls_per_day=74, input_tokens=67_000, output_tokens=2_100, cached_share=0.65, hours=STEADY,
        weekdays=EVERY_DAY,
    ),
    ProjectStory(
        code="ticket-triage", name="Ticket triage", team="support", owner="tom", cost_centre="CC-1200",
        keys=(KeyStory(owner="tom", name="ticket-triage"),),
        models=(("claude-haiku-4-5", 0.6), ("gpt-5-mini", 0.4)),
        calls_per_day=52, input_tokens=8_000, output_tokens=400, hours=STEADY, weekdays=EVERY_DAY,
    ),
    ProjectStory(
        code="invoice-ocr", name="Invoice reading", team="payments", owner="mei", cost_centre="CC-2100",
        keys=(
            KeyStory(owner="mei", name="invoice-ocr backfill", tier=3, share=0.6),
            KeyStory(owner="eve", name="invoice-ocr review", tier=3, share=0.4),
        ),
        models=(("claude-opus-5-5", 0.65), ("gemini-4-argon", 0.35)),
        calls_per_day=42, input_tokens=83_000, output_tokens=4_800, cached_share=0.2, hours=STEADY,
        weekdays=EVERY_DAY, days=20,
    ),
    ProjectStory(
        code="fraud-notes", name="Fraud notes", team="payments", owner="eve", cost_centre="CC-2110",
        keys=(KeyStory(owner="dan", name="fraud-notes"),),
        models=(("gpt-5.4-mini", 1.0),),
        calls_per_day=24, input_tokens=18_000, output_tokens=1_450,
    ),
    ProjectStory(
        code="sql-assistant", name="SQL assistant", team="data", owner="hugo", cost_centre="CC-2200",
        keys=(
            KeyStory(owner="nina", name="sql-assistant", tier=2, share=0.75),
            KeyStory(owner="hugo", name="sql-assistant notebooks", tier=2, share=0.25),
        ),
        models=(("gpt-6.1-sol", 0.5), ("gemini-3.8-flash", 0.3), ("gemini-2.5-pro", 0.2)),
        calls_per_day=38, input_tokens=96_000, output_tokens=2_900, cached_share=0.4,
    ),
    ProjectStory(
        code="docs-summaries", name="Docs summaries", team="data", owner="nina", cost_centre="CC-2200",
        keys=(KeyStory(owner="nina", name="docs-summaries nightly"),),
        models=(("gemini-2.5-flash", 0.75), ("text-embedding-3-small", 0.25)),
        calls_per_day=31, input_tokens=38_000, output_tokens=1_300, hours=NIGHT, weekdays=EVERY_DAY,
    ),
)  # fmt: skip
