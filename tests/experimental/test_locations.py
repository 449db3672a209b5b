from __future__ import annotations

import numpy as np
import pytest

import shoal
from shoal.experimental import get_local_object_locations, get_object_locations


def test_without_session_there_are_no_locations() -> None:
    with pytest.raises(RuntimeError, match="needs a session"):
        get_object_locations([])


def test_a_value_is_on_this_node_with_its_size(cluster: None) -> None:
    ref = shoal.put(np.zeros(100_000))
    location = get_object_locations([ref])[ref]
    assert location["node_ids"] == [shoal.get_runtime_context().get_node_id()]
    assert location["object_size"] >= 800_000
    assert get_local_object_locations([ref]) == {ref: location}


def test_a_value_that_is_still_made_is_nowhere(cluster: None) -> None:
    @shoal.remote(num_cpus=0)
    class Never:
        async def wait(self) -> None:
            import asyncio

            await asyncio.Event().wait()

    never = Never.remote()
    ref = never.wait.remote()
    assert get_object_locations([ref])[ref]["node_ids"] == []


def test_a_bad_timeout_is_refused(cluster: None) -> None:
    with pytest.raises(ValueError, match="timeout_ms must be >= 0, or -1, but got timeout_ms=-2"):
        get_object_locations([], timeout_ms=-2)
