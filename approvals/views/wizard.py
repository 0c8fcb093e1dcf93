"""The questions before a request: one a page, every answer in the address, so that going back loses nothing.

An answer counts when the form of its question is valid and all questions before it count.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django import forms
from django.http import QueryDict

from approvals import facts
from approvals.errors import NobodyCanApproveError
from approvals.facts import ModelPrice, Prospect, Wish
from approvals.forms import CostForm, KeyForm, ModelsForm, ProjectForm, ReasonForm, TierForm
from approvals.models import Policy
from approvals.selectors import pending_for
from approvals.services.asking import check_ask
from core.errors import InvalidInputError
from keys.models import ApiKey
from keys.selectors import USABLE
from teams.models import Project, User

CHECK = "check"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One page: its name in the address, its fields, and the answers that end when it is answered anew."""

    name: str
    fields: tuple[str, ...]
    drops: tuple[str, ...] = ()


PROJECT = Question(name="project", fields=("project",), drops=("extends_key",))
TIER = Question(name="tier", fields=("tier",), drops=("models", "duration_days"))
MODELS = Question(name="models", fields=("models",))
KEY = Question(name="key", fields=("extends_key",))
REASON = Question(name="reason", fields=("reason", "ticket"))
COST = Question(name="cost", fields=("duration_days", "expected_monthly_usd"))
QUESTIONS = (PROJECT, TIER, MODELS, KEY, REASON, COST)
FIELDS = tuple(name for each in QUESTIONS for name in each.fields)
STEPS = frozenset({*(each.name for each in QUESTIONS), CHECK})


class Wizard:
    """One person's way through the questions, as far as his answers reach.

    `current` is the question to show, None when all are answered; `form` is its form, with errors when the
    person tried to pass it; `answers` are those that count, by the names that submit() has for them.
    """

    def __init__(self, user: User, data: QueryDict, *, wanted: str = "", sending: bool = False) -> None:
        self.user, self.data, self.sending = user, data, sending
        self.answers: dict[str, Any] = {}
        self.prospect: Prospect | None = None
        self.current, self.form = self._go_to(wanted if wanted in STEPS else "")

    @property
    def questions(self) -> list[Question]:
        """Return the questions for this person, as far as his answers decide them."""
        return list(self._in_turn())

    @cached_property
    def projects(self) -> dict[str, Project]:
        """Return the projects that may be asked for, by code."""
        found = Project.objects.workable_by(self.user).select_related("team__department", "owner")
        return {project.code: project for project in found}

    @cached_property
    def policies(self) -> dict[int, Policy]:
        """Return the policies in force, by the tier that they are for."""
        in_force = Policy.objects.filter(retired_at__isnull=True).select_related("tier").order_by("tier_id")
        return {policy.tier_id: policy for policy in in_force}

    @property
    def project(self) -> Project | None:
        """Return the chosen project."""
        return self.projects.get(self.answers.get("project", ""))

    @property
    def terms(self) -> Policy | None:
        """Return the policy of the chosen tier."""
        return self.policies.get(self.answers.get("tier", 0))

    @cached_property
    def keys_by_project(self) -> dict[int, list[ApiKey]]:
        """Return the person's usable keys, by project."""
        found: dict[int, list[ApiKey]] = {}
        for key in ApiKey.objects.filter(owner=self.user, revoked_at__isnull=True):
            if key.state in USABLE:
                found.setdefault(key.project_id, []).append(key)
        return found

    @property
    def keys(self) -> Sequence[ApiKey]:
        """Return the keys that could get the access."""
        return self.keys_by_project.get(self.project.pk, ()) if self.project else ()

    @property
    def extends_key(self) -> ApiKey | None:
        """Return the chosen key, None for a new one."""
        return next((key for key in self.keys if key.public_id == self.answers.get("extends_key")), None)

    @cached_property
    def prices(self) -> dict[str, tuple[int, ModelPrice]]:
        """Return the models of the chosen tier with their ids, by name."""
        if self.project is None or self.terms is None:
            return {}
        return facts.offered_models(self.terms.tier_id)

    def wish(self) -> Wish | None:
        """Return what is known of the wish, for its cost."""
        if self.project is None:
            return None
        chosen = [self.prices[name][0] for name in self.answers.get("models", [])]
        return Wish(
            project=self.project,
            tier=self.answers.get("tier", 0),
            model_ids=tuple(chosen),
            days=self.answers.get("duration_days", facts.MONTH_DAYS),
            expected_usd=self.answers.get("expected_monthly_usd"),
        )

    def refuse(self, field: str | None, text: str) -> None:
        """Go back to the question of a field and say there what is wrong; without one, before sending."""
        question = next((each for each in self.questions if field in each.fields), None)
        self.current = question
        self.form = self.form_of(question, self.data) if question else forms.Form({})
        self.form.add_error(field if question else None, text)

    def form_of(
        self, question: Question, data: QueryDict | None = None, initial: Mapping[str, Any] | None = None
    ) -> forms.Form:
        """Return the form of a question, with choices that fit the answers before it."""
        given: dict[str, Any] = {"data": data, "initial": initial}
        match question.name:
            case "project":
                return ProjectForm(**given, projects=self.projects.values())
            case "tier":
                return TierForm(**given, tiers=[terms.tier for terms in self.policies.values()])
            case "models":
                return ModelsForm(**given, prices=[price for _, price in self.prices.values()])
            case "key":
                return KeyForm(**given, keys=self.keys)
            case "reason":
                assert self.terms is not None
                return ReasonForm(**given, terms=self.terms)
            case _:
                assert self.terms is not None
                return CostForm(**given, terms=self.terms)

    def _go_to(self, wanted: str) -> tuple[Question | None, forms.Form]:
        """Stop at the question that is wanted, or at the first one that has no answer that counts."""
        for question in self._in_turn():
            if question.name == wanted or not (wanted or self._is_answered(question)):
                return question, self._unasked(question)
            form = self.form_of(question, self.data)
            if not self._counts(question, form):
                return question, form
        return None, forms.Form()

    def _in_turn(self) -> Iterator[Question]:
        """Give the questions one after another: about a key only when there are some for the project."""
        yield PROJECT
        yield TIER
        yield MODELS
        if self.keys:
            yield KEY
        yield REASON
        yield COST

    def _is_answered(self, question: Question) -> bool:
        return any(name in self.data for name in question.fields)

    def _unasked(self, question: Question) -> forms.Form:
        """Return the form as it is first shown: with an answer given before, without errors."""
        initial: dict[str, Any] = {name: self.data[name] for name in question.fields if self.data.get(name)}
        if "models" in initial:
            initial["models"] = self.data.getlist("models")
        return self.form_of(question, None, initial)

    def _counts(self, question: Question, form: forms.Form) -> bool:
        """Take an answer if it is one that could be sent; else the form says why not."""
        if not form.is_valid():
            return False
        self.answers |= form.cleaned_data
        try:
            if question is TIER:
                self._require_a_way()
            elif question is COST:
                self._require_allowed()
        except InvalidInputError as error:
            form.add_error(error.field if error.field in form.fields else None, error.detail)
            return False
        return True

    def _require_a_way(self) -> None:
        """Refuse a tier that nobody could approve here, or that the person waits for already."""
        project, terms = self.project, self.terms
        if project is None or terms is None:
            return
        waiting = pending_for(self.user, project=project.pk, tier=terms.tier_id)
        if waiting and not self.sending:  # submit() answers that better: with the request that waits
            raise InvalidInputError(
                f"You asked for {terms.tier} in {project} on {waiting.created_at:%d %B %Y}, and it waits"
                " to be decided. See it under Approvals, where you can withdraw it.",
                field="tier",
            )
        try:
            self.prospect = facts.prospect(self.user, project, terms)
        except NobodyCanApproveError as error:
            raise InvalidInputError(error.detail, field="tier") from error

    def _require_allowed(self) -> None:
        """Refuse what submitting would refuse by the policy."""
        if self.terms is not None:
            check_ask(
                tier=self.terms.tier,
                model_names=self.answers["models"],
                reason=self.answers["reason"],
                duration_days=self.answers["duration_days"],
                expected_monthly_usd=self.answers["expected_monthly_usd"],
                ticket=self.answers.get("ticket", ""),
            )
