"""Admission of work: one client does not take all places."""

import pytest

from modelward.errors import LimitReached
from modelward_server.runtime.admission import Admission


def test_one_client_does_not_take_the_places_of_others() -> None:
    admission = Admission("uploads", "uploads", 3, 2)
    with admission.admit("eve"), admission.admit("eve"):
        with pytest.raises(LimitReached, match="eve has 2 uploads under way, the maximum of one client") as refused:
            admission.admit("eve").__enter__()
        assert (refused.value.metadata, refused.value.retry_seconds) == ({"limit": "uploads"}, 1.0)
        with admission.admit("ann"):
            with pytest.raises(LimitReached, match="the server has 3 uploads under way"):
                admission.admit("bob").__enter__()
            assert admission.open == 3
    assert admission.open == 0
    with admission.admit("eve"):
        pass
