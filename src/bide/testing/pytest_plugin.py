"""The pytest plugin: fixture `durable`, for tests of durable functions under virtual time.

A test module, or its conftest.py, says which app is meant:

    @pytest.fixture
    def durable_app() -> App:
        return app

Bide itself is imported when a test asks for it, so that the plugin costs the others nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bide.app import App
    from bide.testing.harness import Durable


@pytest.fixture
def durable_app() -> App:
    """The app that `durable` runs. Override it."""
    raise pytest.UsageError(
        "The fixture `durable` needs to know your app. Add this to conftest.py or to the test module:\n\n"
        "    @pytest.fixture\n"
        "    def durable_app():\n"
        "        return app\n"
    )


@pytest.fixture
def durable(durable_app: App) -> Iterator[Durable]:
    """The app `durable_app` in the test's own time. See `bide.testing.harness.Durable`."""
    from bide.testing.harness import Durable

    with Durable(durable_app) as running:
        yield running
