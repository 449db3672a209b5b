from __future__ import annotations

import pytest
from fake_engine import FakeEngine

import shoal
from shoal.core.actor_builtins import BUILT_INS
from shoal.core.actor_exit import ActorExit, AsyncioActorExit
from shoal.core.descriptors import BUILT_IN_METHODS


def test_only_an_actor_can_leave_itself(engine: FakeEngine) -> None:
    with pytest.raises(TypeError, match="exit_actor API is called on a non-actor worker"):
        shoal.actor.exit_actor()


def test_without_a_session_there_is_no_actor_either(engines: list[FakeEngine]) -> None:
    with pytest.raises(TypeError, match="non-actor worker"):
        shoal.actor.exit_actor()
    assert engines == []


@pytest.mark.parametrize(("is_async", "error"), [(False, ActorExit), (True, AsyncioActorExit)])
def test_the_engine_is_told_before_user_code_can_swallow_it(engine: FakeEngine, is_async: bool, error: type) -> None:
    engine.answers["actor_should_exit"] = None
    engine.facts.update(actor_id=b"a" * 16, is_async_actor=is_async)
    with pytest.raises(error):
        shoal.actor.exit_actor()
    assert engine.requests[-1] == ("actor_should_exit", {})
    assert not issubclass(error, Exception)


def test_every_built_in_method_is_there_to_run() -> None:
    assert BUILT_INS.keys() == BUILT_IN_METHODS.keys()
    assert BUILT_INS["__ray_ready__"](object()) is True
    assert BUILT_INS["__ray_call__"](3, lambda self, x: self + x, 4) == 7
    with pytest.raises(ActorExit):
        BUILT_INS["__ray_terminate__"](object())
