"""A new Tier 1 key, and the one answer that shows a secret."""

from datetime import timedelta

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods

from catalog.models import LlmModel
from core import clock
from core.errors import InvalidInputError, NotAllowedError
from keys import selectors, services
from keys.errors import AlreadyRevealedError
from keys.forms import NewKeyForm
from keys.models import ApiKey
from keys.selectors import DEFAULT_TIER, active_grants
from keys.views.shapes import key_facts
from teams.models import Project
from teams.types import PersonRequest

SNIPPET = """import os

from openai import OpenAI

client = OpenAI(
    base_url="{base_url}/v1",
    api_key=os.environ["PURSER_KEY"],
)
answer = client.chat.completions.create(
    model="{model}",
    messages=[{{"role": "user", "content": "Hello"}}],
)
print(answer.choices[0].message.content)"""


@require_http_methods(["GET", "HEAD", "POST"])
def create_key(request: PersonRequest) -> HttpResponse:
    """Make a Tier 1 key for a project that the person works in, and go on to its reveal."""
    projects = {project.code: project for project in Project.objects.workable_by(request.user)}
    if not projects:
        return _create_page(request, None)
    if request.method != "POST":
        chosen = request.GET.get("project", "")
        return _create_page(request, NewKeyForm(projects=projects.values(), initial={"project": chosen}))
    form = NewKeyForm(request.POST, projects=projects.values())
    if form.is_valid():
        entered = form.cleaned_data
        try:
            key = services.issue_key(
                actor=request.user,
                project=projects[entered["project"]],
                name=entered["name"],
                expires_at=clock.now() + timedelta(days=entered["days"]),
            )
            return redirect("keys:reveal", key.public_id)
        except InvalidInputError as error:
            form.add_error(error.field if error.field in form.fields else None, error.detail)
    return _create_page(request, form, status=422)


@never_cache
@sensitive_variables()
@require_http_methods(["GET", "HEAD", "POST"])
def reveal_key(request: PersonRequest, public_id: str) -> HttpResponse:
    """Ask before the secret is shown; on POST show it to its owner in this one answer.

    The second time is a 409 with what is known of the key. The secret goes nowhere else: not into the
    session, a message, a redirect or a log.
    """
    key = selectors.find(request.user, public_id)
    if request.method != "POST":
        if key.owner_id != request.user.pk:
            raise NotAllowedError(
                f"Only {key.owner}, who owns this key, may reveal it. Make one of your own."
            )
        return render(request, "keys/reveal.html", {"key": key_facts(key, user=request.user)})
    models = _callable_models(key)
    try:
        shown = services.reveal(actor=request.user, key=key)
    except AlreadyRevealedError:
        return render(request, "keys/reveal.html", {"key": key_facts(key, user=request.user)}, status=409)
    # The facts of the key are not read again: a read that fails here would lose the secret.
    key.revealed_at, key.prefix, key.last4 = shown.key.revealed_at, shown.key.prefix, shown.key.last4
    facts = key_facts(key, user=request.user, models=[(model.pk, model.name) for model in models])
    context = {"key": facts, "secret": shown.token, "snippet": _snippet(models)}
    return render(request, "keys/reveal.html", context)


def _create_page(request: PersonRequest, form: NewKeyForm | None, *, status: int = 200) -> HttpResponse:
    names = LlmModel.objects.filter(tier=DEFAULT_TIER, retired_at__isnull=True).values_list("name", flat=True)
    *most, last = list(names.order_by("name")) or ["every model of Tier 1"]
    models_text = f"{', '.join(most)} and {last}" if most else last
    context = {"form": form, "create": {"models_text": models_text}}
    return render(request, "keys/create.html", context, status=status)


def _callable_models(key: ApiKey) -> list[LlmModel]:
    """Return what the key may call, the highest tier first. One query."""
    models = LlmModel.objects.filter(retired_at__isnull=True).order_by("-tier_id", "name")
    grants = active_grants(key)
    return [
        model
        for model in models
        if model.tier_id == DEFAULT_TIER
        or any(
            grant.tier_id == model.tier_id and (not grant.model_ids or model.pk in grant.model_ids)
            for grant in grants
        )
    ]


def _snippet(models: list[LlmModel]) -> str:
    model = models[0].name if models else "a-model"
    return SNIPPET.format(base_url=settings.GATEWAY_PUBLIC_URL, model=model)
