"""Comparisons wait for the models' processes, not for the database: one database is enough here.

That a comparison is kept on each is shown where the promotion gates look at one.
"""

import pytest


@pytest.fixture(scope="session")
def database_url() -> str:
    return ""
