"""How single calls are kept: a narrow row each, and two small tables of what many calls share."""

from typing import Any

from django.db import models

from budgets.models import COPIED, MONEY
from usage.models.events import Attribution

MAY_LACK: Any = {"null": True}


class CallSource(models.Model):
    """A gateway that reported calls, as a number."""

    id = models.SmallAutoField(primary_key=True)
    name = models.CharField(max_length=40, unique=True)

    class Meta:
        db_table = "usage_source"

    def __str__(self) -> str:
        return self.name


class CallAttribution(Attribution):
    """Whose call of which model, as a number. May be there twice: nobody waits for another to write it."""

    id = models.AutoField(primary_key=True)

    class Meta:
        db_table = "usage_attribution"
        indexes = (models.Index(fields=("key_id", "model"), name="usage_attribution_by_key"),)

    def __str__(self) -> str:
        return f"key {self.key_id}, model {self.model_id}"


class StoredCall(models.Model):
    """One call as its partition has it; columns that may be null are, where it is as most calls are.

    Everybody reads it as UsageEvent, by the view usage_event. SQL alone writes it (usage_book, usage_import,
    usage_correct). Its name and source are unique in a month by usage_key, in an index of each partition.
    """

    # Django wants one; rows are read and written by SQL, which knows them by usage_key.
    pk = models.CompositePrimaryKey("source", "at", "recorded_at")
    at = models.DateTimeField()
    recorded_at = models.DateTimeField()
    reservation_id = models.BigIntegerField(**MAY_LACK)
    packed = models.UUIDField(**MAY_LACK)
    attribution = models.ForeignKey(CallAttribution, **COPIED)
    input_tokens = models.IntegerField()
    output_tokens = models.IntegerField()
    cached_tokens = models.IntegerField(**MAY_LACK)
    cache_write_tokens = models.IntegerField(**MAY_LACK)
    reasoning_tokens = models.IntegerField(**MAY_LACK)
    source = models.ForeignKey(CallSource, **COPIED)
    calls = models.SmallIntegerField()
    cache_hit = models.BooleanField()
    estimated = models.BooleanField()
    late = models.BooleanField()
    cost_usd = models.DecimalField(**MONEY)
    shape = models.TextField(**MAY_LACK)
    finish = models.TextField(**MAY_LACK)
    units = models.JSONField(**MAY_LACK)
    provider_call_id = models.TextField(**MAY_LACK)
    # The service class that the call was priced in. Null where that is what its reservation was made for, or
    # standard for a call without one.
    context = models.TextField(**MAY_LACK)

    class Meta:
        db_table = "usage_call"

    def __str__(self) -> str:
        return f"{self.source_id}/{self.at}"
