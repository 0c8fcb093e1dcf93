"""What is said about a request, and the offer of a lower tier."""

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from approvals import selectors, services
from approvals.forms.talking import CommentForm
from approvals.models import Comment
from approvals.services.withdrawing import require_requester
from approvals.views.forms import FormPage, add_error, form_page
from approvals.views.reading import detail_url
from catalog.models import Tier
from core.errors import AlreadyDoneError, GoneError, InvalidInputError, NotFoundError
from teams.types import PersonRequest

OVER = (AlreadyDoneError, GoneError)


@require_http_methods(["GET", "HEAD", "POST"])
def comment_on(request: PersonRequest, public_id: str) -> HttpResponse:
    """Ask or answer something about a request, or offer a lower tier. Opening the address shows the form."""
    asked = selectors.find(request.user, public_id)
    tiers = list(Tier.objects.filter(number__lt=asked.tier_id).order_by("-number"))
    mine = request.user.pk in asked.askers
    form = CommentForm(request.POST or None, tiers=() if mine else tiers)
    page = FormPage(
        title=f"About {asked}",
        text="It is kept with the request, and everybody who may see the request can read it.",
        url=reverse("approvals:comment", args=[public_id]),
        submit_text="Send",
        cancel_url=detail_url(asked),
    )
    if request.method != "POST" or not form.is_valid():
        return form_page(request, page, form)
    offered = {str(tier.number): tier for tier in tiers}.get(form.cleaned_data.get("offered_tier", ""))
    try:
        services.comment(
            actor=request.user, request=asked, text=form.cleaned_data["text"], offered_tier=offered
        )
    except InvalidInputError as error:
        add_error(form, error)
        return form_page(request, page, form)
    except OVER as error:
        return form_page(request, page, form, refusal=error)
    messages.success(request, "It is sent.")
    return redirect(detail_url(asked))


@require_http_methods(["GET", "HEAD", "POST"])
def take_offer(request: PersonRequest, public_id: str) -> HttpResponse:
    """Say what follows from taking a lower tier; on POST close the request and ask for that instead."""
    rows = Comment.objects.select_related("request__project", "request__tier", "offered_tier", "author")
    offer = rows.filter(public_id=public_id, offered_tier__isnull=False).first()
    if offer is None or offer.offered_tier is None:
        raise NotFoundError("There is no such offer.")
    asked = selectors.find(request.user, offer.request.public_id)
    require_requester(request.user, asked)
    if request.method == "POST":
        try:
            made = services.accept_offer(
                actor=request.user, offer=offer, expected_monthly_usd=asked.expected_monthly_usd
            )
        except (InvalidInputError, *OVER) as error:
            messages.error(request, error.detail)
            return redirect(detail_url(asked))
        if made is None:
            messages.success(request, f"{offer.offered_tier} needs no approval: make a key here.")
            return redirect("keys:create")
        messages.success(request, f"You ask for {offer.offered_tier} now.")
        return redirect(detail_url(made))
    confirm = {
        "title": f"Take {offer.offered_tier} instead of {asked.tier}?",
        "text": f"{offer.author}: {offer.text}",
        "consequences": (
            f"Your request for {asked.tier} is closed.",
            f"You ask for every model of {offer.offered_tier}, with the same reason. Its people decide."
            if offer.offered_tier.number > 1
            else f"{offer.offered_tier} needs no approval: you make a key at once.",
        ),
        "url": reverse("approvals:take_offer", args=[public_id]),
        "submit_text": f"Take {offer.offered_tier}",
        "cancel_url": detail_url(asked),
        "cancel_text": "Keep the request",
    }
    return render(request, "confirm.html", {"confirm": confirm, "form": forms.Form()})
