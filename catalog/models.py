"""What can be called and what it costs: tiers, models with aliases, dated prices."""

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import RangeOperators
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q

from core.clock import now
from core.ids import PublicIdField
from teams.models import User, validity_range


class Tier(models.Model):
    """A price and risk class of models. Tier 1 needs no approval; who approves the others is a policy's
    matter.
    """

    number = models.PositiveSmallIntegerField(
        primary_key=True, validators=[MinValueValidator(1), MaxValueValidator(9)]
    )
    name = models.CharField(max_length=60, unique=True)
    description = models.CharField(max_length=240)
    default_max_output_tokens = models.PositiveIntegerField(default=4_096)
    floor_max_output_tokens = models.PositiveIntegerField(default=64)

    class Meta:
        ordering = ("number",)
        constraints = (
            models.CheckConstraint(condition=Q(number__range=(1, 9)), name="tier_number_is_1_to_9"),
            models.CheckConstraint(
                condition=Q(
                    floor_max_output_tokens__gte=1,
                    default_max_output_tokens__gte=F("floor_max_output_tokens"),
                ),
                name="tier_default_output_is_at_least_its_floor",
            ),
        )

    def __str__(self) -> str:
        return f"Tier {self.number}"


class Provider(models.TextChoices):
    """Who serves a model."""

    OPENAI = "openai", "OpenAI"
    ANTHROPIC = "anthropic", "Anthropic"
    GOOGLE = "google", "Google"


class Mode(models.TextChoices):
    """What kind of route serves a model."""

    CHAT = "chat", "Chat and completion"
    EMBEDDING = "embedding", "Embedding"
    TRANSCRIPTION = "transcription", "Transcription"
    SPEECH = "speech", "Speech"
    IMAGE = "image", "Image"

    @property
    def writes_tokens(self) -> bool:
        """Whether output tokens are what its price is about."""
        return self is Mode.CHAT


class LlmModel(models.Model):
    """One model, by the name that callers use. Without a price in force it is refused unless
    `declared_free`.
    """

    public_id = PublicIdField(prefix="mdl")
    name = models.CharField(max_length=100, unique=True)
    provider = models.CharField(max_length=16, choices=Provider)
    provider_model = models.CharField(max_length=100)
    mode = models.CharField(max_length=16, choices=Mode, default=Mode.CHAT)
    tier = models.ForeignKey(Tier, on_delete=models.PROTECT, related_name="models")
    context_window_tokens = models.PositiveIntegerField()
    max_output_tokens = models.PositiveIntegerField(null=True, blank=True)
    hold_units = models.JSONField(
        default=dict, blank=True, help_text="The most a call may use of a unit that its body does not bound."
    )
    declared_free = models.BooleanField(default=False)
    retired_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=now)

    class Meta:
        ordering = ("tier_id", "name")
        constraints = (
            models.CheckConstraint(
                condition=(~Q(mode=Mode.CHAT) & Q(max_output_tokens__isnull=True))
                | (Q(mode=Mode.CHAT) & Q(max_output_tokens__isnull=False, max_output_tokens__gte=1)),
                name="model_with_output_says_how_much",
            ),
        )

    def __str__(self) -> str:
        return self.name


class UnpricedCall(models.Model):
    """A model that was asked for and refused because nobody priced it: work for an administrator.

    It is done when a price is in force or the model is declared free.
    """

    model = models.OneToOneField(
        LlmModel, on_delete=models.PROTECT, primary_key=True, related_name="unpriced"
    )
    calls = models.BigIntegerField(default=0)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        db_table = "catalog_unpriced_call"

    def __str__(self) -> str:
        return f"{self.calls} refused calls of {self.model}"


class Alias(models.Model):
    """Another name for a model. Aliases and model names share one name space (held by a trigger)."""

    name = models.CharField(max_length=100, unique=True)
    model = models.ForeignKey(LlmModel, on_delete=models.PROTECT, related_name="aliases")

    class Meta:
        verbose_name_plural = "aliases"

    def __str__(self) -> str:
        return self.name


class Unit(models.TextChoices):
    """What a price is per: one token of a kind, or one of something else."""

    INPUT = "input", "Input token"
    CACHED = "cached", "Cached input token"
    CACHE_WRITE = "cache_write", "Cache write token"
    OUTPUT = "output", "Output token"
    REASONING = "reasoning", "Reasoning token"
    CACHE_WRITE_1H = "cache_write_1h", "Cache write token kept for an hour"
    INPUT_AUDIO = "input_audio", "Audio token in"
    CACHED_AUDIO = "cached_audio", "Cached audio token in"
    OUTPUT_AUDIO = "output_audio", "Audio token out"
    INPUT_IMAGE = "input_image", "Image token in"
    OUTPUT_IMAGE = "output_image", "Image token out"
    REQUEST = "request", "Request"
    SECOND = "second", "Second of audio"
    CHARACTER = "character", "Character"
    IMAGE = "image", "Image"
    PAGE = "page", "Page"
    SEARCH = "search", "Search"


# What a call tells in `units`, beside its tokens; a request is counted by itself.
OPEN_UNITS = frozenset({Unit.SECOND, Unit.CHARACTER, Unit.IMAGE, Unit.PAGE, Unit.SEARCH})


class Context(models.TextChoices):
    """The closed set of service classes; one that is not priced is charged at the dearest that is.

    `unknown` is what a gateway says of a class that it does not know. Nothing is ever priced in it.
    """

    STANDARD = "standard", "Standard"
    BATCH = "batch", "Batch"
    FLEX = "flex", "Flex"
    PRIORITY = "priority", "Priority"
    FAST = "fast", "Fast"
    UNKNOWN = "unknown", "Unknown"


class PriceSource(models.TextChoices):
    """Where a price came from; a contract or a manual override beats an imported list."""

    GENAI_PRICES = "genai-prices", "genai-prices"
    CONTRACT = "contract", "Contract"
    MANUAL = "manual", "Manual override"


class Price(models.Model):
    """US dollars for one unit of a model in [valid_from, valid_until). Rows are dated, never edited, never
    overlap.

    A planned price that is withdrawn ends at its own start. Rows of different sources may overlap: a
    contract beats a manual override beats an imported list. A call whose total input reaches `tier_start`
    tokens pays the whole call at that step.
    """

    public_id = PublicIdField(prefix="prc")
    model = models.ForeignKey(LlmModel, on_delete=models.PROTECT, related_name="prices")
    unit = models.CharField(max_length=16, choices=Unit)
    context = models.CharField(max_length=16, choices=Context, default=Context.STANDARD)
    tier_start = models.PositiveIntegerField(default=0)
    usd_per_unit = models.DecimalField(max_digits=20, decimal_places=15)
    valid_from = models.DateTimeField()
    valid_until = models.DateTimeField(null=True, blank=True)
    source = models.CharField(max_length=24, choices=PriceSource)
    source_version = models.CharField(max_length=40)
    author = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    reason = models.CharField(max_length=240, blank=True)
    proposal = models.ForeignKey("PriceProposal", on_delete=models.PROTECT, null=True, related_name="prices")
    recorded_at = models.DateTimeField(default=now)

    class Meta:
        ordering = ("model_id", "unit", "context", "tier_start", "valid_from")
        indexes = (models.Index(fields=("model", "valid_from"), name="price_by_model"),)
        constraints = (
            models.CheckConstraint(condition=Q(usd_per_unit__gte=0), name="price_is_not_negative"),
            models.CheckConstraint(condition=~Q(context=Context.UNKNOWN), name="price_is_of_a_known_context"),
            models.CheckConstraint(
                condition=Q(valid_until__isnull=True) | Q(valid_until__gte=F("valid_from")),
                name="price_does_not_end_before_it_starts",
            ),
            ExclusionConstraint(
                name="price_ranges_do_not_overlap",
                expressions=[
                    ("model", RangeOperators.EQUAL),
                    ("unit", RangeOperators.EQUAL),
                    ("context", RangeOperators.EQUAL),
                    ("tier_start", RangeOperators.EQUAL),
                    ("source", RangeOperators.EQUAL),
                    (validity_range(), RangeOperators.OVERLAPS),
                ],
                # One that is superseded ends when its successor is there, which the database looks for.
                deferrable=models.Deferrable.IMMEDIATE,
            ),
        )

    def __str__(self) -> str:
        return f"{self.model}: {self.usd_per_unit} per {self.unit}"


class ProposalKind(models.TextChoices):
    """What a proposal would do to prices."""

    IMPORT = "import", "Follow the price list"
    OVERRIDE = "override", "Enter a price"
    ENDING = "ending", "End a price"


class ProposalState(models.TextChoices):
    """The life of a proposal. All but WAITING are final."""

    WAITING = "waiting", "Waiting"
    APPLIED = "applied", "In force"
    REJECTED = "rejected", "Rejected"
    REPLACED = "replaced", "Replaced"


class PriceProposal(models.Model):
    """A change of prices, kept as data before it is in force. Nobody edits it; another one replaces it.

    `difference` is what `catalog.proposals` reads. When `needs_second` is set, somebody else than
    `proposed_by` must approve it. A proposal of the program itself (an import by the command) has nobody.
    """

    public_id = PublicIdField(prefix="ppr")
    kind = models.CharField(max_length=10, choices=ProposalKind)
    title = models.CharField(max_length=160)
    difference = models.JSONField()
    source_version = models.CharField(max_length=40, blank=True)
    reason = models.CharField(max_length=240, blank=True)
    needs_second = models.BooleanField()
    state = models.CharField(max_length=10, choices=ProposalState, default=ProposalState.WAITING)
    proposed_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    proposed_at = models.DateTimeField(default=now)
    ended_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    ended_at = models.DateTimeField(null=True)
    answer = models.CharField(max_length=240, blank=True)

    class Meta:
        db_table = "catalog_price_proposal"
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(state=ProposalState.WAITING, ended_at__isnull=True)
                | (~Q(state=ProposalState.WAITING) & Q(ended_at__isnull=False)),
                name="price_proposal_ended_has_a_time",
            ),
            models.CheckConstraint(
                condition=~Q(state=ProposalState.APPLIED, needs_second=True)
                | Q(ended_by__isnull=False) & (Q(proposed_by__isnull=True) | ~Q(ended_by=F("proposed_by"))),
                name="price_proposal_is_approved_by_somebody_else",
            ),
            models.CheckConstraint(
                condition=~Q(state=ProposalState.REJECTED) | ~Q(answer=""),
                name="price_proposal_rejected_says_why",
            ),
        )

    def __str__(self) -> str:
        return self.title


class NoticeKind(models.TextChoices):
    """What about prices somebody should look at."""

    DIFFERS = "differs", "Differs from the price list"
    ZERO_COST = "zero_cost", "Tokens that cost nothing"
    UNKNOWN_CONTEXT = "unknown_context", "Unknown service class"


class PriceNotice(models.Model):
    """Work that the nightly check of prices found for an administrator; it closes by itself when done."""

    public_id = PublicIdField(prefix="prn")
    kind = models.CharField(max_length=16, choices=NoticeKind)
    model = models.ForeignKey(LlmModel, on_delete=models.PROTECT, related_name="price_notices")
    detail = models.CharField(max_length=400)
    calls = models.BigIntegerField(default=0)
    opened_at = models.DateTimeField(default=now)
    last_at = models.DateTimeField(default=now)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "catalog_price_notice"
        ordering = ("-last_at", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("kind", "model"),
                condition=Q(closed_at__isnull=True),
                name="price_notice_one_open_per_kind_and_model",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.model}"
