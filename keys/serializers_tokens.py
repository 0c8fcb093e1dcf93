"""How API tokens and service accounts look in the API."""

from rest_framework import serializers

from core.rest.fields import Moment, PublicId, Text
from core.rest.serializers import In, NamedOut, Out
from keys.models import KeyState
from keys.scopes import SCOPES

MAX_NAME, MAX_ADDRESS, MAX_REASON = 80, 254, 240


class ApiTokenOut(Out):
    """A token without its secret, and when it was used last, to a minute."""

    id = serializers.CharField(source="public_id")
    name = serializers.CharField()
    owner = NamedOut()
    scopes = serializers.ListField(child=serializers.CharField())
    state = serializers.ChoiceField(KeyState.choices)
    masked = serializers.CharField(help_text="The first and last characters of the secret.")
    created_at = Moment()
    revealed_at = Moment(allow_null=True)
    expires_at = Moment()
    last_used_at = Moment(allow_null=True)
    revoked_at = Moment(allow_null=True)
    revoked_by = NamedOut(allow_null=True)
    revoked_reason = serializers.CharField()


class RevealedTokenOut(Out):
    """A token with its secret: the only answer that ever holds one."""

    token = ApiTokenOut()
    secret = serializers.CharField()


class ApiTokenCreateIn(In):
    """What a token is called, what it is good for, and until when."""

    name = Text(max_length=MAX_NAME, help_text="Such as where it will be used.")
    scopes = serializers.ListField(
        child=serializers.ChoiceField(sorted(SCOPES)), min_length=1, max_length=len(SCOPES)
    )
    owner = PublicId("usr", required=False, help_text="A service that one answers for; oneself unless said.")
    expires_at = Moment(required=False, help_text="90 days from now unless said otherwise, at most 365.")


class ApiTokenRevokeIn(In):
    """Why a token ends; kept with it."""

    reason = Text(max_length=MAX_REASON)


class ServiceAccountOut(Out):
    """A program that is somebody of its own, and who answers for it. Its id is that of its user."""

    id = serializers.CharField(source="user.public_id")
    name = serializers.CharField(source="user.name")
    responsible = NamedOut()
    live_tokens = serializers.IntegerField()
    created_at = Moment()
    created_by = NamedOut()


class ServiceAccountCreateIn(In):
    """A program, and who answers for it."""

    name = Text(max_length=MAX_NAME)
    responsible = Text(max_length=MAX_ADDRESS, help_text="The address with which this person signs in.")


class ServiceAccountHandOverIn(In):
    """Who answers for a program from now on."""

    responsible = Text(max_length=MAX_ADDRESS, help_text="The address with which this person signs in.")
