"""How fast keys spend: what the breaker looks at when a call is settled (docs/adr/0024)."""

from django.db import models

from budgets.models import MONEY


class KeyMinute(models.Model):
    """What a key's calls that were authorised in one minute cost. Kept until its hour is of no use to the
    breaker any more, then joined to that hour. Written by usage_book alone.
    """

    pk = models.CompositePrimaryKey("key_id", "minute")
    key_id = models.BigIntegerField()
    minute = models.DateTimeField()
    cost_usd = models.DecimalField(**MONEY)

    class Meta:
        db_table = "usage_key_minute"

    def __str__(self) -> str:
        return f"key {self.key_id} at {self.minute:%Y-%m-%d %H:%M}"


class KeyHour(models.Model):
    """What a key's calls of one hour (UTC) cost: its history, kept for four weeks."""

    pk = models.CompositePrimaryKey("key_id", "hour")
    key_id = models.BigIntegerField()
    hour = models.DateTimeField()
    cost_usd = models.DecimalField(**MONEY)

    class Meta:
        db_table = "usage_key_hour"

    def __str__(self) -> str:
        return f"key {self.key_id} at {self.hour:%Y-%m-%d %H:00}"
