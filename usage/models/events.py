"""What was consumed: every call once, its sums by day and hour, and the gateway's own record of it."""

from django.db import models

from budgets.models import COPIED, MONEY, Budget
from catalog.models import LlmModel, Tier
from teams.models import Department, Project, Team, User


class Finish(models.TextChoices):
    """How a call ended."""

    STOP = "stop", "Complete"
    LENGTH = "length", "Output limit reached"
    ERROR = "error", "Failed"
    CANCELLED = "cancelled", "Client left"


class TokenCounts(models.Model):
    """Inclusive totals: cached and cache-write tokens are part of the input, reasoning tokens part of the
    output.
    """

    input_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    cache_write_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)

    class Meta:
        abstract = True


class Place(models.Model):
    """Where a call belonged when it was written; never follows a later move or rename."""

    project = models.ForeignKey(Project, **COPIED)
    team = models.ForeignKey(Team, **COPIED)
    department = models.ForeignKey(Department, **COPIED)

    class Meta:
        abstract = True


class Cut(Place):
    """A place, and the model that was served there with its tier of then: what sums are cut by."""

    model = models.ForeignKey(LlmModel, **COPIED)
    tier = models.ForeignKey(Tier, **COPIED)

    class Meta:
        abstract = True


class Attribution(Cut):
    """Whose call it was, and all else that it was attributed to when it was written."""

    key_id = models.BigIntegerField()
    owner = models.ForeignKey(User, **COPIED)

    class Meta:
        abstract = True


class UsageEvent(Attribution, TokenCounts):
    """One finished call, priced by Purser, as the view on its stored row has it (usage.models.stored).

    `at` is the moment of its authorisation, `source` the public id of the gateway that reported it; (source,
    external_id) is written once. What takes a call back or corrects it is called as the call is, then ":",
    and why.
    """

    pk = models.CompositePrimaryKey("source", "external_id", "at")
    source = models.CharField(max_length=40)
    external_id = models.CharField(max_length=160)
    at = models.DateTimeField()
    recorded_at = models.DateTimeField()
    reservation_id = models.BigIntegerField(null=True)
    calls = models.SmallIntegerField(
        default=1,
        help_text="-1 takes back a call that was charged without being settled, 0 corrects a call's figures.",
    )
    cost_usd = models.DecimalField(**MONEY)
    units = models.JSONField(db_default={}, help_text="What is not counted in tokens, by unit.")
    finish = models.CharField(max_length=10, choices=Finish)
    cache_hit = models.BooleanField(default=False)
    estimated = models.BooleanField(default=False)
    late = models.BooleanField(default=False)
    provider_call_id = models.CharField(max_length=100, blank=True)
    context = models.TextField(null=True)  # noqa: DJ001  as in StoredCall

    class Meta:
        db_table = "usage_event"
        managed = False

    def __str__(self) -> str:
        return f"{self.source}/{self.external_id}"


class UsageDay(Attribution, TokenCounts):
    """Sums by the organisation's day, key and model: the source of every money figure on a page, in a CSV,
    in the API.
    """

    day = models.DateField()
    calls = models.BigIntegerField(default=0)
    cost_usd = models.DecimalField(**MONEY, default=0)

    class Meta:
        db_table = "usage_day"
        indexes = (
            models.Index(fields=("project", "day"), name="usage_day_by_project"),
            models.Index(fields=("team", "day"), name="usage_day_by_team"),
            models.Index(fields=("department", "day"), name="usage_day_by_department"),
            models.Index(fields=("key_id", "day"), name="usage_day_by_key"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("day", "key_id", "model", "project", "team", "department", "owner", "tier"),
                name="usage_day_one_row_per_attribution",
            ),
        )

    def __str__(self) -> str:
        return f"{self.day}: {self.cost_usd}"


class ProjectDay(Place):
    """Sums of UsageDay by project, for days that are over for long: what a trend of weeks reads.

    Made by usage_fold alone. It holds from the beginning to before the least `FoldedDays`; what is after that
    may be of before a change, and is not read.
    """

    day = models.DateField()
    cost_usd = models.DecimalField(**MONEY)

    class Meta:
        db_table = "usage_project_day"
        indexes = (
            models.Index(fields=("project", "day"), name="usage_project_day_by_project"),
            models.Index(fields=("team", "day"), name="usage_project_day_by_team"),
            models.Index(fields=("department", "day"), name="usage_project_day_by_dept"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("day", "project", "team", "department"), name="usage_project_day_one_row_per_place"
            ),
        )

    def __str__(self) -> str:
        return f"{self.day}: {self.cost_usd}"


class FoldedDays(models.Model):
    """Days before `until` are folded into ProjectDay; the least of all rows counts.

    usage_fold writes one row, and whoever changes a day before it (by the triggers of usage_day) another.
    """

    until = models.DateField()

    class Meta:
        db_table = "usage_folded"

    def __str__(self) -> str:
        return f"before {self.until}"


class BlockedHour(Place):
    """Refused calls of known keys, counted by hour, key, code and what refused: a budget, or a rate of a key,
    project or team. The code of a key that is not valid says why (`key_revoked`); its caller is not told.
    """

    hour = models.DateTimeField()
    key_id = models.BigIntegerField()
    code = models.CharField(max_length=40)
    budget = models.ForeignKey(Budget, null=True, **COPIED)
    rate_scope = models.CharField(max_length=16, blank=True, default="", db_default="")
    rate_limit = models.CharField(max_length=24, blank=True, default="", db_default="")
    calls = models.BigIntegerField(default=0)
    last_at = models.DateTimeField()

    class Meta:
        db_table = "usage_blocked_hour"
        constraints = (
            models.UniqueConstraint(
                fields=(
                    *("hour", "key_id", "project", "team", "department", "code"),
                    *("budget", "rate_scope", "rate_limit"),
                ),
                nulls_distinct=False,
                name="blocked_hour_one_row_per_attribution_and_cause",
            ),
        )

    def __str__(self) -> str:
        return f"{self.calls} x {self.code}"


class GatewayCall(TokenCounts):
    """One finished call as a gateway's own journal has it: the other side of the reconciliation.
    Partitioned by month.

    `cost_usd` is what the gateway reckons, empty where it does not; `provider_call_id` the id of the answer.
    `settled_by_log` says that an ordinary log told of the call before any settlement did.
    """

    pk = models.CompositePrimaryKey("source", "external_id", "at")
    source = models.CharField(max_length=40)
    external_id = models.CharField(max_length=100)
    at = models.DateTimeField()
    pulled_at = models.DateTimeField()
    model_name = models.CharField(max_length=100)
    finish = models.CharField(max_length=10, choices=Finish)
    cache_hit = models.BooleanField(default=False)
    released = models.BooleanField(default=False)
    cost_usd = models.DecimalField(**MONEY, null=True)
    provider_call_id = models.CharField(max_length=100, blank=True, default="", db_default="")
    settled_by_log = models.BooleanField(default=False, db_default=False)

    class Meta:
        db_table = "usage_gateway_call"

    def __str__(self) -> str:
        return f"{self.source}/{self.external_id}"


class UsageHour(Cut, TokenCounts):
    """Sums by UTC hour, project and model for the last 14 days: charts by the hour, and fingerprints."""

    hour = models.DateTimeField()
    calls = models.BigIntegerField(default=0)
    cost_usd = models.DecimalField(**MONEY, default=0)

    class Meta:
        db_table = "usage_hour"
        constraints = (
            models.UniqueConstraint(
                fields=("hour", "project", "model", "team", "department", "tier"),
                name="usage_hour_one_row_per_attribution",
            ),
        )

    def __str__(self) -> str:
        return f"{self.hour}: {self.cost_usd}"
