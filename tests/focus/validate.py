"""Exports demo data as FOCUS and has the specification's own validator judge it: `make focus`.

The validator (focus-validator 1.0.0) lives in an environment of its own. Its rules for version 1.0 call five
columns by names that the specification 1.0 does not have (Provider for ProviderName, ChargeType for
ChargeCategory, ...), so that a correct file fails them. They are copied with the names of the specification,
and every rule is judged.
"""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

from django.core.management import call_command

from bench.environment import services
from tests.gateways.servers import ROOT

HOME = ROOT / ".local" / "focus"
PYTHON = HOME / "venv" / "bin" / "python"
VERSION = "1.0"
# Source: the column ids of https://focus.finops.org/focus-specification/v1-0/.
RENAMED = {
    "InvoiceIssuer": "InvoiceIssuerName",
    "Provider": "ProviderName",
    "Publisher": "PublisherName",
    "ResourceID": "ResourceId",
    "ChargeType": "ChargeCategory",
}
NAMES = re.compile(rf"\b({'|'.join(RENAMED)})\b")


def main() -> None:
    """Seed, export each month with usage, validate; exit 1 when a rule is broken or a sum differs."""
    package = _package()
    rules = _rules(package)
    with services():
        call_command("seed_demo", verbosity=0, password="of nobody", sign_ins=HOME / "sign-ins.txt")
        failures = [failure for month in _months() for failure in _judge(month, rules, package)]
    if failures:
        print("\n".join(failures))
        sys.exit(1)


def _package() -> Path:
    """Return the folder that the validator is installed in: it reads its currency codes relative to it."""
    found = subprocess.run(
        [PYTHON, "-c", "import focus_validator; print(focus_validator.__path__[0])"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return Path(found.stdout.strip())


def _rules(package: Path) -> Path:
    """Copy the validator's rules with the column names of the specification, and say how many there are."""
    target = HOME / "rules"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(package / "rules" / "version_sets", target)
    rules = sorted((target / VERSION).glob("*.yaml"))
    renamed = 0
    for rule in rules:
        text = rule.read_text(encoding="utf-8")
        changed = NAMES.sub(lambda match: RENAMED[match[1]], text)
        renamed += changed != text
        rule.write_text(changed, encoding="utf-8")
    print(f"{len(rules)} rules of FOCUS {VERSION}, {renamed} of them with the names of the specification")
    return target


def _months() -> list[str]:
    from usage.models import UsageDay  # noqa: PLC0415  the settings exist only while the services run

    return [f"{month:%Y-%m}" for month in UsageDay.objects.dates("day", "month")]


def _judge(month: str, rules: Path, package: Path) -> list[str]:
    """Export a month and return what is wrong with it."""
    file = HOME / f"{month}.csv"
    call_command("focus_export", month=month, output=file, verbosity=0)
    with file.open(encoding="utf-8", newline="") as source:
        costs = [Decimal(row["BilledCost"]) for row in csv.DictReader(source)]
    wrong = [] if sum(costs) == _spent(month) else [f"{month}: the rows add up to {sum(costs)}"]
    judged = subprocess.run(
        [
            *(PYTHON.with_name("focus-validator"), "--data-file", file, "--validate-version", VERSION),
            *("--column-namespace", "x_", "--rule-set-path", rules),
        ],
        check=False, capture_output=True, text=True, cwd=package.parent,
    )  # fmt: skip
    said = judged.stdout + judged.stderr
    if judged.returncode != 0 or "Validation succeeded" not in said:
        wrong.append(f"{month}: {said}")
    print(f"{month}  {len(costs):>7,} rows  {sum(costs):>20} USD  {'not ok' if wrong else 'ok'}", flush=True)
    return wrong


def _spent(month: str) -> Decimal:
    from usage.selectors import organisation_scope, totals  # noqa: PLC0415  as above
    from usage.selectors.periods import month_of  # noqa: PLC0415  as above

    return totals(organisation_scope(), month_of(month)).cost_usd


if __name__ == "__main__":
    main()
