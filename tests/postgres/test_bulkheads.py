"""What harms itself only on SQLite (`tests/bulkheads`) does so on PostgreSQL, through a take-over, too."""

from __future__ import annotations

import pytest

from tests.bulkheads.cases import CASES
from tests.bulkheads.test_cases import assert_it_harms_itself_only

pytestmark = pytest.mark.postgres


@pytest.mark.parametrize("name", CASES)
def test_it_harms_itself_only(name: str, database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    assert_it_harms_itself_only(name, database_url, caplog)
