"""Which collective groups this process is a member of."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import shoal
from shoal.util.collective.backends import Backend, Group, backend_class
from shoal.util.collective.rendezvous import Membership, describe_group, described_membership, end_rendezvous

_lock = threading.Lock()
_groups: dict[str, Group] = {}


def init_collective_group(
    world_size: int, rank: int, backend: str = Backend.GLOO, group_name: str = "default", gloo_timeout: int = 30_000
) -> None:
    """Makes this actor the member ``rank`` of a group of ``world_size``. Returns when all members have called it.

    ``gloo_timeout``: milliseconds that joining and every operation may take. Raises RuntimeError outside of an actor
    or when the actor
    is a member already, ValueError for a bad rank or backend, ImportError when torch is missing.
    """
    _check_in_actor("init_collective_group")
    _check_world(world_size, rank)
    group_class = backend_class(backend)
    with _lock:
        if group_name in _groups:
            raise RuntimeError(f"group {group_name!r} is initialized already in this process")
        _groups[group_name] = group_class(world_size, rank, group_name, gloo_timeout)


def create_collective_group(
    actors: Sequence[Any],
    world_size: int,
    ranks: Sequence[int],
    backend: str = Backend.GLOO,
    group_name: str = "default",
    gloo_timeout: int = 30_000,
) -> None:
    """Describes a group from outside, usually in the driver; each actor joins with its first operation.

    ``ranks`` are those of ``actors``. Raises ValueError when they do not fit, or the group was described already;
    ImportError when
    torch is missing here.
    """
    if len(actors) != len(ranks) or len(actors) != world_size:
        raise ValueError(
            f"each actor needs one rank, but got {len(actors)} actors, ranks={list(ranks)}, world_size={world_size}"
        )
    if sorted(ranks) != list(range(world_size)):
        raise ValueError(f"ranks must be 0 to {world_size - 1}, each once, but got ranks={list(ranks)}")
    backend_class(backend)
    by_actor = {actor._actor_id.hex(): rank for actor, rank in zip(actors, ranks, strict=True)}
    describe_group(group_name, Membership(by_actor, world_size, backend, gloo_timeout))


def destroy_collective_group(group_name: str = "default") -> None:
    """Ends this process's membership, and the group's description. Does nothing when there is no such group."""
    with _lock:
        group = _groups.pop(group_name, None)
    if group is not None:
        group.destroy_group()
    end_rendezvous(group_name)


def is_group_initialized(group_name: str = "default") -> bool:
    """Whether this process has joined the group."""
    return group_name in _groups


def get_rank(group_name: str = "default") -> int:
    """This actor's rank; -1 when it has not joined the group."""
    group = _groups.get(group_name)
    return -1 if group is None else group.rank


def get_collective_group_size(group_name: str = "default") -> int:
    """The group's number of members; -1 when this process has not joined it."""
    group = _groups.get(group_name)
    return -1 if group is None else group.world_size


def get_group_handle(group_name: str = "default") -> Group:
    """This process's membership; joins the group if the driver described it. Raises RuntimeError when it did not, or
    described it
    without this actor."""
    group = _groups.get(group_name)
    if group is not None:
        return group
    _check_in_actor("get_group_handle")
    membership = described_membership(group_name)
    own_id = shoal.get_runtime_context().get_actor_id()
    rank = None if membership is None or own_id is None else membership.ranks.get(own_id)
    if membership is None or rank is None:
        raise RuntimeError(f"this actor is no member of group {group_name!r}: call init_collective_group() in it first")
    init_collective_group(membership.world_size, rank, membership.backend, group_name, membership.timeout_ms)
    return _groups[group_name]


def _check_in_actor(name: str) -> None:
    if not shoal.is_initialized() or shoal.get_runtime_context().get_actor_id() is None:
        raise RuntimeError(f"{name}() must be called in an actor")


def _check_world(world_size: int, rank: int) -> None:
    if world_size < 1:
        raise ValueError(f"world_size must be >= 1, but got world_size={world_size}")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must be between 0 and world_size - 1 = {world_size - 1}, but got rank={rank}")
