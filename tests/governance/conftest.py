"""Fixtures of the tests of governance."""

from collections.abc import Iterator

import pytest

from tests.support.desk import Desk, running_desk


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with running_desk(tmp_path_factory.mktemp("data")) as made:
        yield made
