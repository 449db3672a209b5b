"""Actors: the types behind ``@remote`` on a class, and leaving one from inside."""

from __future__ import annotations

from shoal.core.actor_class import ActorClass, ActorClassInheritanceException
from shoal.core.actor_exit import exit_actor
from shoal.core.actor_handle import ActorHandle, ActorMethod
from shoal.core.decorators import method

__all__ = ["ActorClass", "ActorClassInheritanceException", "ActorHandle", "ActorMethod", "exit_actor", "method"]
