"""What one simulated run found out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypedDict

StoreKind: TypeAlias = Literal["memory", "sqlite"]

PROMISES: dict[str, str] = {
    "G1": "acknowledged means durable",
    "G2": "every message changes its instance exactly once",
    "G3": "no timer early, none twice, none after its cancellation",
    "time": "no instance sees time go back, or a time that nobody set",
    "G4": "events in order, per instance and name",
    "G5": "one recorded result; no blind repetition",
    "G6": "nothing written under an old epoch",
    "G7": "held, not failed, while the code does not fit",
    "isolation": "code that misbehaves harms nobody else",
    "waits": "an answer for one wait is taken by that one, and once",
    "births": "nothing of one instance in another that has its id later",
    "replay": "replay gives exactly the recorded facts",
    "rest": "after the faults, everything comes to rest",
    "rows": "what has ended waits for nothing",
    "outcome": "outputs are what the orchestrators should give",
}
"""What is checked, under the numbers of docs/architecture.md."""

TRACE_TAIL = 40


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken, and how."""

    promise: str
    text: str


@dataclass(slots=True)
class Report:
    """One run: what was checked, what was broken, and the trace that led there."""

    seed: int
    store: StoreKind
    checks: Counter[str] = field(default_factory=Counter[str])
    counts: Counter[str] = field(default_factory=Counter[str])
    violations: list[Violation] = field(default_factory=list[Violation])
    trace: list[str] = field(default_factory=list[str])

    def check(self, promise: str, holds: bool, text: str = "") -> None:
        """Count a check, and note a violation if it does not hold."""
        self.checks[promise] += 1
        if not holds:
            self.broken(promise, text)

    def broken(self, promise: str, text: str) -> None:
        self.violations.append(Violation(promise, text))
        self.trace.append(f"VIOLATION of {promise}: {text}")

    @property
    def command(self) -> str:
        """What reproduces this run."""
        return f"python -m simulation --seed {self.seed} --store {self.store}"

    @property
    def fingerprint(self) -> str:
        """A hash of the whole trace: the same for every run of the same seed, in any process."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()

    def raise_violations(self) -> None:
        """Raises `AssertionError` with the violations, the end of the trace and the command, if there are any."""
        assert not self.violations, self.describe()

    def describe(self) -> str:
        """The violations, and the trace up to the first of them."""
        first = next((n for n, line in enumerate(self.trace) if line.startswith("VIOLATION")), len(self.trace))
        return "\n".join(
            [
                *self.trace[max(0, first - TRACE_TAIL) : first + 1],
                "",
                *(f"{violation.promise}: {violation.text}" for violation in self.violations),
                f"{len(self.violations)} violations. Repeat: {self.command}",
            ]
        )


class Summary(TypedDict):
    """The figures of many runs together. Checks and violations are counted per promise."""

    seeds: int
    checks: dict[str, int]
    violations: dict[str, int]
    counts: dict[str, int]
    failed: list[tuple[int, StoreKind]]


def summary(reports: Sequence[Report]) -> Summary:
    """The figures of many runs together."""
    checks: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    for report in reports:
        checks.update(report.checks)
        counts.update(report.counts)
        broken.update(violation.promise for violation in report.violations)
    return {
        "seeds": len(reports),
        "checks": {promise: checks[promise] for promise in PROMISES},
        "violations": {promise: broken[promise] for promise in PROMISES},
        "counts": dict(sorted(counts.items())),
        "failed": [(report.seed, report.store) for report in reports if report.violations],
    }
