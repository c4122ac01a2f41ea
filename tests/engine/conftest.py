"""Each test declares its own functions on a fresh app, and runs them with `durable`."""

import pytest

from bide import App


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def durable_app(app: App) -> App:
    return app
