"""What one measurement says: a line with the figure, what it has to reach, and whether it does."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One figure against its bar. `judged` is false where a quick run is too short to say anything."""

    name: str
    value: float
    bar: float
    at_least: bool = True
    judged: bool = True

    @property
    def reached(self) -> bool:
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    def line(self, measurement: str) -> str:
        """Write the result as one line."""
        verdict = ("ok" if self.reached else "SHORT") if self.judged else "not judged"
        sign = ">=" if self.at_least else "<="
        return f"{measurement} {self.name} {self.value:.3g} ({sign} {self.bar:g}) {verdict}"
