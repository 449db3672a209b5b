"""Names that Ray has given up and still answers to."""

from __future__ import annotations

import importlib
import sys

import pytest

from shoal import experimental
from shoal.util.queue import Empty, Full, Queue


def test_the_queue_has_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "shoal.experimental.queue", raising=False)
    with pytest.warns(DeprecationWarning, match="has moved to shoal.util.queue"):
        former = importlib.import_module("shoal.experimental.queue")
    assert (former.Queue, former.Empty, former.Full) == (Queue, Empty, Full)


def test_resources_of_a_node_are_fixed() -> None:
    with pytest.raises(DeprecationWarning, match="resource_name='X', capacity=2"):
        experimental.set_resource("X", 2)


@pytest.mark.parametrize("name", ["shoal.workflow"])
def test_workflows_are_gone(name: str) -> None:
    with pytest.raises(RuntimeError, match="Ray removed its workflows"):
        importlib.import_module(name)
