"""Small grammar for what the portal says."""


def counted(number: int, noun: str) -> str:
    """Write a whole number with its noun, which takes an s: `1 day`, `2 days`, `1,200 calls`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
