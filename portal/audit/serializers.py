"""How the audit looks in the API."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.models import AuditEvent
from core.rest.fields import Day, Moment, PublicId, Text
from core.rest.serializers import NamedOut, Out, PageQuery, Query

MAX_CHARACTERS = 100


class AuditObjectOut(Out):
    """What an act was about, as it was called then."""

    type = serializers.CharField(source="object_type")
    id = serializers.CharField(source="object_id")
    name = serializers.SerializerMethodField()

    def get_name(self, event: AuditEvent) -> str:
        """Return its name of then, also where an old event kept but few words."""
        named: tuple[str, str] = self.context["names"].subject(event)
        return named[0]


class AuditEventOut(Out):
    """One act: who did it, to what, what changed, why. Where it came from is for those who see everything."""

    id = serializers.CharField(source="public_id")
    at = Moment()
    action = serializers.CharField()
    actor = serializers.CharField(source="actor_label", help_text="As of then; `purser` is the portal.")
    actor_id = serializers.SerializerMethodField()
    on_behalf_of = serializers.SerializerMethodField()
    object = AuditObjectOut(source="*")
    team = serializers.SerializerMethodField()
    before = serializers.DictField(help_text="The facts before the act, as far as they are kept.")
    after = serializers.DictField()
    reason = serializers.CharField()
    policy_version = serializers.IntegerField(allow_null=True)
    api_token = serializers.CharField(help_text="The id of the API token that was used, if any.")
    request_id = serializers.SerializerMethodField(help_text="The X-Request-Id of the call.")
    ip_address = serializers.SerializerMethodField()
    sealed = serializers.SerializerMethodField()

    def get_actor_id(self, event: AuditEvent) -> str | None:
        """Return the id of the person."""
        person = self.context["people"].get(event.actor_id)
        return person.public_id if person else None

    @extend_schema_field(NamedOut(allow_null=True))
    def get_on_behalf_of(self, event: AuditEvent) -> Any:
        """Return for whom it was done."""
        person = self.context["people"].get(event.on_behalf_of_id)
        return {"id": person.public_id, "name": str(person)} if person else None

    @extend_schema_field(NamedOut(allow_null=True))
    def get_team(self, event: AuditEvent) -> Any:
        """Return the team that it concerned, as far as one may know of it."""
        team = self.context["teams"].get(event.team_id)
        return NamedOut(team).data if team else None

    def get_request_id(self, event: AuditEvent) -> str:
        """Return which call did it, to those who see everything."""
        return event.request_id if self.context["in_full"] else ""

    def get_ip_address(self, event: AuditEvent) -> str | None:
        """Return where it came from, to those who see everything."""
        return event.ip_address if self.context["in_full"] else None

    def get_sealed(self, event: AuditEvent) -> bool:
        """Say whether a change of it would be found."""
        sealed_until: int = self.context["sealed_until"]
        return event.pk <= sealed_until


class AuditExportQuery(Query):
    """Which events; the filters of the page."""

    actor = Text(
        required=False,
        max_length=MAX_CHARACTERS,
        help_text="Part of a name or an address, of who did it or for whom; `purser` is the portal.",
    )
    action = Text(
        required=False, max_length=MAX_CHARACTERS, help_text="`key.revoked`, or how it begins: `key.`"
    )
    object = Text(required=False, max_length=MAX_CHARACTERS, help_text="An id, or part of a name.")
    team = PublicId("tem", required=False)
    to = Day(required=False, help_text="The last day, included.")

    def get_fields(self) -> dict[str, Any]:
        """Add the parameter whose name is a word of Python."""
        return {**super().get_fields(), "from": Day(required=False, help_text="The first day, included.")}


class AuditEventQuery(PageQuery, AuditExportQuery):
    """Which events, page by page."""


class AuditSealOut(Out):
    """The last closed range of events and the end of the chain: keep it elsewhere, and compare."""

    number = serializers.IntegerField()
    events = serializers.IntegerField(help_text="How many events this range has.")
    head = serializers.CharField()
    sealed_at = Moment()


class AuditVerificationOut(Out):
    """Whether the audit is as it was sealed. It is read in full every night."""

    state = serializers.ChoiceField(
        ("intact", "broken", "stale", "unknown"),
        help_text="`stale`: last night's verification is missing; `unknown`: none is known of.",
    )
    verified_at = Moment(allow_null=True)
    broken = serializers.IntegerField(allow_null=True, help_text="How much is not as it was sealed.")
    last_seal = AuditSealOut(allow_null=True)
    oldest_unsealed_at = Moment(allow_null=True, help_text="Since when an event waits for its seal.")
