"""Which units price a model: by its mode, what may be entered and what is enough."""

from collections.abc import Collection

from catalog.models import Mode, Unit

# Tokens that a call tells in `units` although a total counts them: what they cost above the kind they are
# part of is added to it. `catalog_card` in SQL and usage.tokens know the same.
PART_OF = {
    Unit.CACHE_WRITE_1H: Unit.CACHE_WRITE,
    Unit.INPUT_AUDIO: Unit.INPUT,
    Unit.CACHED_AUDIO: Unit.CACHED,
    Unit.OUTPUT_AUDIO: Unit.OUTPUT,
    Unit.INPUT_IMAGE: Unit.INPUT,
    Unit.OUTPUT_IMAGE: Unit.OUTPUT,
}
TOKEN_UNITS = frozenset({Unit.INPUT, Unit.CACHED, Unit.CACHE_WRITE, Unit.OUTPUT, Unit.REASONING, *PART_OF})
# What a person may enter for a mode, in the order of the form.
OFFERED: dict[Mode, tuple[Unit, ...]] = {
    Mode.CHAT: (Unit.INPUT, Unit.OUTPUT, Unit.CACHED, Unit.REQUEST),
    Mode.EMBEDDING: (Unit.INPUT, Unit.REQUEST),
    Mode.TRANSCRIPTION: (Unit.SECOND, Unit.REQUEST),
    Mode.SPEECH: (Unit.CHARACTER, Unit.SECOND, Unit.REQUEST),
    Mode.IMAGE: (Unit.IMAGE, Unit.REQUEST),
}
# A mode is priced when all units of one of these sets are; `catalog_card` in SQL decides the same.
ENOUGH: dict[Mode, tuple[frozenset[Unit], ...]] = {
    Mode.CHAT: (frozenset({Unit.INPUT, Unit.OUTPUT}),),
    Mode.EMBEDDING: (frozenset({Unit.INPUT}),),
    Mode.TRANSCRIPTION: (
        frozenset({Unit.SECOND}),
        frozenset({Unit.REQUEST}),
    ),
    Mode.SPEECH: (
        frozenset({Unit.CHARACTER}),
        frozenset({Unit.SECOND}),
        frozenset({Unit.REQUEST}),
    ),
    Mode.IMAGE: (
        frozenset({Unit.IMAGE}),
        frozenset({Unit.REQUEST}),
    ),
}


def prices_whole_calls(mode: Mode, units: Collection[str]) -> bool:
    """Whether prices for these units price every call of a model of this mode."""
    return any(needed <= set(units) for needed in ENOUGH[mode])


def missing_unit(mode: Mode, units: Collection[str]) -> Unit | None:
    """Return the first unit of the form that is missing to price a mode; None when enough are there."""
    if prices_whole_calls(mode, units):
        return None
    nearest = min(ENOUGH[mode], key=lambda needed: len(needed - set(units)))
    return next(unit for unit in OFFERED[mode] if unit in nearest - set(units))
