"""What every request shares: it waits for people until `decide_by`, and ends once."""

from datetime import datetime
from typing import ClassVar, Self, TypeVar

from django.db import models

from approvals.policy import Turn, reminders_due
from core.clock import now
from teams.models import User

_Request = TypeVar("_Request", bound="Waiting")


class RequestStatus(models.TextChoices):
    """The life of a request. All but PENDING are final."""

    PENDING = "pending", "Waiting"
    APPROVED = "approved", "Approved"
    DENIED = "denied", "Denied"
    WITHDRAWN = "withdrawn", "Withdrawn"
    EXPIRED = "expired", "Expired"
    CLOSED = "closed", "Closed"


class WaitingQuerySet(models.QuerySet[_Request]):
    """Requests, as time has left them."""

    def pending(self) -> Self:
        """Return the requests that can still be decided: past its time is expired, written down or not."""
        return self.filter(status=RequestStatus.PENDING, decide_by__gt=now())

    def decided(self) -> Self:
        """Return the requests that are over in any way."""
        return self.exclude(status=RequestStatus.PENDING, decide_by__gt=now())


class Waiting(models.Model):
    """Something that its requester wants and others decide, a revision at a time.

    `revised_at` is when this revision began; a trigger fills it in. `reminders` counts those that were sent
    since the clock started last.
    `ACTS` is how the actions on it begin in the audit.
    """

    ACTS: ClassVar[str]

    reason = models.TextField()
    revision = models.PositiveIntegerField(default=1)
    status = models.CharField(max_length=10, choices=RequestStatus, default=RequestStatus.PENDING)
    created_at = models.DateTimeField()
    decide_by = models.DateTimeField()
    revised_at = models.DateTimeField()
    reminders = models.PositiveSmallIntegerField(default=0)
    decided_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True
        ordering = ("-id",)

    @property
    def state(self) -> RequestStatus:
        """Return what this request is now: nobody can decide it after `decide_by`, swept or not."""
        if self.status == RequestStatus.PENDING and self.decide_by <= now():
            return RequestStatus.EXPIRED
        return RequestStatus(self.status)

    @property
    def turn(self) -> Turn:
        """Return whose turn it is to decide now, by the clock alone."""
        raise NotImplementedError

    @property
    def sla_at(self) -> datetime:
        """Return when a decision should have come, and the next role, if there is one, may decide too."""
        return self.turn.ends_at

    @property
    def is_reminder_due(self) -> bool:
        """Whether somebody is to be reminded now."""
        return reminders_due(now(), self.turn) > self.reminders


class Saying(models.Model):
    """Something that somebody says about a request at one of its revisions. Append-only by trigger."""

    revision = models.PositiveIntegerField()
    author = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    text = models.TextField()
    at = models.DateTimeField()

    class Meta:
        abstract = True
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.author}: {self.text[:60]}"
