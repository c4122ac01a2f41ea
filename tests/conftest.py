"""Options of the suite, and what it says at its end."""

from __future__ import annotations

import pytest

from tests.postgres.server import NO_POSTGRESQL


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kill-runs", type=int, default=25, help="how often test_random_kills kills the server")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Here, and not beside the tests of PostgreSQL: with xdist, the process that reports never loads those."""
    skipped = [report for report in terminalreporter.getreports("skipped") if NO_POSTGRESQL in report.longreprtext]
    if skipped:
        terminalreporter.section("NOT TESTED: PostgreSQL", "!", red=True, bold=True)
        terminalreporter.line(f"{len(skipped)} tests of the PostgreSQL store were skipped: nothing is known of it.")
        terminalreporter.line(NO_POSTGRESQL)
