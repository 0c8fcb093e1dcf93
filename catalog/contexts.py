"""Which service classes each provider sells. The set is closed: anything else is charged at the dearest."""

from catalog.models import Context, Provider

STANDARD_ONLY = (Context.STANDARD,)
SOLD: dict[str, tuple[Context, ...]] = {
    Provider.OPENAI: (Context.STANDARD, Context.BATCH, Context.FLEX, Context.PRIORITY, Context.FAST),
    Provider.ANTHROPIC: (Context.STANDARD, Context.BATCH, Context.FAST),
    Provider.GOOGLE: (Context.STANDARD, Context.BATCH, Context.FLEX, Context.PRIORITY),
}


def contexts_of(provider: str) -> tuple[Context, ...]:
    """Return the classes in which a provider's models may have a price."""
    return SOLD.get(provider, STANDARD_ONLY)
