"""How keys and grants look in the API. A secret has a serializer of its own, used by one answer."""

from rest_framework import serializers

from core.rest.fields import Moment, PublicId, Text, Usd, WholeNumber
from core.rest.serializers import CodedOut, In, NamedOut, Out, PageQuery
from keys import selectors
from keys.models import MAX_OVERLAP_HOURS, ApiKey, Grant, GrantState, KeyState

MAX_TEXT_CHARACTERS = 240
MAX_MODELS = 200
MAX_LEAKS = 20


class ApiKeyOut(Out):
    """A key, without its secret; `tiers` are those that it may call now, or could once revealed."""

    id = serializers.CharField(source="public_id")
    name = serializers.CharField()
    state = serializers.ChoiceField(KeyState.choices)
    masked = serializers.CharField(help_text="The first and last characters of the secret.")
    project = CodedOut()
    owner = NamedOut()
    tiers = serializers.SerializerMethodField()
    created_at = Moment()
    revealed_at = Moment(allow_null=True)
    expires_at = Moment()
    rotation_asked_at = Moment(
        allow_null=True, help_text="Since when its owner may reveal the secret that follows."
    )
    rotation_overlap_hours = serializers.IntegerField(allow_null=True)
    previous_masked = serializers.CharField(help_text="The secret before, after a rotation.")
    previous_until = Moment(allow_null=True, help_text="Until when the secret before is good.")
    suspended_at = Moment(allow_null=True)
    suspended_reason = serializers.CharField()
    revoked_at = Moment(allow_null=True)
    revoked_by = NamedOut(allow_null=True)
    revoked_reason = serializers.CharField()

    def get_tiers(self, key: ApiKey) -> list[int]:
        """Numbers of the tiers that it may call now, or could once revealed."""
        return selectors.tiers_now(key)


class RevealedOut(Out):
    """A key with its secret: the only answer that ever holds one."""

    key = ApiKeyOut()
    secret = serializers.CharField(source="token")


class GrantOut(Out):
    """Permission for one key to call a tier for a time; no `models` means every model of the tier."""

    id = serializers.CharField(source="public_id")
    key = NamedOut()
    tier = serializers.IntegerField(source="tier_id")
    models = serializers.SerializerMethodField()
    state = serializers.ChoiceField(GrantState.choices)
    monthly_cap_usd = Usd(allow_null=True)
    starts_at = Moment()
    expires_at = Moment()
    request = serializers.CharField(source="source_request", help_text="The approved request it came from.")
    granted_by = NamedOut()
    supersedes = serializers.CharField(source="supersedes.public_id", allow_null=True)
    revoked_at = Moment(allow_null=True)
    revoked_by = NamedOut(allow_null=True)
    revoked_reason = serializers.CharField()

    def get_models(self, grant: Grant) -> list[str]:
        """Names that callers send; none means every model of the tier."""
        names: dict[int, str] = self.context["model_names"]
        return [names[number] for number in grant.model_ids]


class ApiKeyQuery(PageQuery):
    """Which keys to list."""

    project = PublicId("prj", required=False)
    owner = PublicId("usr", required=False)


class OfKeyQuery(PageQuery):
    """Of which key to list them."""

    key = PublicId("key", required=False)


class ApiKeyCreateIn(In):
    """A Tier 1 key for oneself. More than Tier 1 comes from an approved request, never from here."""

    project = PublicId("prj")
    name = Text(max_length=MAX_TEXT_CHARACTERS, help_text="Such as where the key will be used.")
    expires_at = Moment(required=False, help_text="180 days from now unless said otherwise, at most 365.")


class ApiKeyRotateIn(In):
    """How long the present secret goes on once the next was revealed."""

    overlap_hours = WholeNumber(min_value=0, max_value=MAX_OVERLAP_HOURS, required=False)


class ApiKeyRenameIn(In):
    """What a key is called from now on; what is past keeps the name it had."""

    name = Text(max_length=MAX_TEXT_CHARACTERS)


class GrantShrinkIn(In):
    """What is left of a grant. What is not named stays, and nothing may grow."""

    expires_at = Moment(required=False)
    monthly_cap_usd = Usd(required=False)
    models = serializers.ListField(
        child=Text(max_length=MAX_TEXT_CHARACTERS),
        required=False,
        min_length=1,
        max_length=MAX_MODELS,
        help_text="The names of the models that stay.",
    )
    reason = Text(max_length=MAX_TEXT_CHARACTERS)


class GrantRevokeIn(In):
    """Why a grant ends; kept with it."""

    reason = Text(max_length=MAX_TEXT_CHARACTERS)


class ApiKeyRevokeIn(In):
    """Why a key is revoked; kept with the key."""

    reason = Text(max_length=MAX_TEXT_CHARACTERS)


class ApiKeySuspendIn(In):
    """Why a key is suspended; told to whoever calls with it."""

    reason = Text(max_length=MAX_TEXT_CHARACTERS)


class ApiKeyResumeIn(In):
    """Why a key goes on, where there is something to say."""

    reason = Text(max_length=MAX_TEXT_CHARACTERS, required=False)


class LeakReportIn(In):
    """Secrets that were seen where they must not be."""

    secrets = serializers.ListField(
        child=Text(max_length=MAX_TEXT_CHARACTERS), min_length=1, max_length=MAX_LEAKS
    )
    place = Text(
        max_length=MAX_TEXT_CHARACTERS, required=False, default="", help_text="Such as the address of a file."
    )


class LeakReportOut(Out):
    """The report arrived. Whether a secret was live is told to its owner, not to whoever reports it."""

    received = serializers.IntegerField(help_text="How many secrets the report named.")
