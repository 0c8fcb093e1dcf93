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
        return self._is_enough(self.value)

    def line(self, measurement: str) -> str:
        """Write the result as one line."""
        verdict = ("ok" if self.reached else "SHORT") if self.judged else "not judged"
        sign = ">=" if self.at_least else "<="
        return f"{measurement} {self.name} {self._figure()} ({sign} {self.bar:g}) {verdict}"

    def _figure(self) -> str:
        """Write the value with two decimals, or with as many as tell it from its bar."""
        if float(self.value).is_integer():
            return str(int(self.value))
        rounded = f"{self.value:.2f}"
        return rounded if self._is_enough(float(rounded)) == self.reached else f"{self.value:.4g}"

    def _is_enough(self, value: float) -> bool:
        return value >= self.bar if self.at_least else value <= self.bar
