from __future__ import annotations

import pytest
from fake_engine import FakeEngine

import shoal
from shoal.core import binding


@shoal.remote
class Actor:
    def work(self) -> None: ...


def test_binds_go_to_whoever_registered(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "_binder", None)
    bound: list[tuple[object, tuple[object, ...], dict[str, object]]] = []
    binding.register_binder(lambda what, args, kwargs: bound.append((what, args, kwargs)))
    function, handle = shoal.remote(lambda x: x), Actor.remote()
    function.bind(1, a=2)
    Actor.bind()
    handle.work.bind(3)
    assert bound == [(function, (1,), {"a": 2}), (Actor, (), {}), (handle.work, (3,), {})]
