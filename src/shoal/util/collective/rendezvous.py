"""How the members of a group find each other: a named actor that keeps what one member tells the others."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import shoal


@dataclass(frozen=True)
class Membership:
    """A group that the driver described: which actor has which rank."""

    ranks: dict[str, int]  # actor id, hex -> rank
    world_size: int
    backend: str
    timeout_ms: int


class Rendezvous:
    """Values under keys; ``wait`` returns when the key is there. One actor for each group."""

    def __init__(self, membership: Membership | None = None) -> None:
        self._membership = membership
        self._values: dict[str, Any] = {}
        self._changed = asyncio.Condition()

    async def membership(self) -> Membership | None:
        return self._membership

    async def put(self, key: str, value: Any) -> None:
        async with self._changed:
            self._values[key] = value
            self._changed.notify_all()

    async def wait(self, key: str) -> Any:
        async with self._changed:
            await self._changed.wait_for(lambda: key in self._values)
            return self._values[key]


def open_rendezvous(group_name: str) -> Any:
    """The group's rendezvous, made by whoever comes first. It lives as long as a member holds it."""
    options = {"name": actor_name(group_name), "get_if_exists": True}
    return shoal.remote(num_cpus=0)(Rendezvous).options(**options).remote()


def describe_group(group_name: str, membership: Membership) -> None:
    """Makes the rendezvous of a described group; it lives until the group is destroyed. Raises ValueError when there is one."""
    options = {"name": actor_name(group_name), "lifetime": "detached"}
    described = shoal.remote(num_cpus=0)(Rendezvous).options(**options).remote(membership)
    shoal.get(described.membership.remote())


def described_membership(group_name: str) -> Membership | None:
    """What ``describe_group`` was given; None when nobody described the group."""
    try:
        actor = shoal.get_actor(actor_name(group_name))
    except ValueError:
        return None
    membership: Membership | None = shoal.get(actor.membership.remote())
    return membership


def end_rendezvous(group_name: str) -> None:
    """Ends the group's rendezvous, if there is one."""
    try:
        actor = shoal.get_actor(actor_name(group_name))
    except ValueError:
        return
    shoal.kill(actor)


def actor_name(group_name: str) -> str:
    return f"collective group {group_name}"
