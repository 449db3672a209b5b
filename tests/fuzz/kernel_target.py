"""Wrong and right calls of the kernel in any order: a Python exception is the worst that may come of one.

What a call gives out is kept and given to later ones: records in all states, queues, slots, references, tasks. Each call is
noted in the file ``calls`` before it is made. ``release``, which takes back what ``keep`` gave out, is called as its contract
asks, all others with anything."""

from __future__ import annotations

import gc
import math
import os
import random
import signal
from pathlib import Path
from types import FrameType
from typing import Any

from shoal import _kernel
from shoal.core.native import hooks
from shoal.core.serialization import dumps_error

STORE_BYTES = 16 << 20
CALL_LIMIT_S = 0.01
KEPT_MAX = 40

# What each argument is meant to be: s(lot), q(ueue), r(ecord), f: reference, n(umber), b(ool), y: bytes, t(imeout), v(alue),
# x: text, l: list of references, u: uid of a record, k: task, c: callable, m: mailbox, d: dict, p: tuple, z: list of queues.
CALLS = {
    "reserve_slot": "n",
    "adopt_slot": "s",
    "set_slot_pid": "sn",
    "set_slot_job": "sn",
    "set_kill_reason": "sn",
    "set_lent": "sb",
    "slot_state": "s",
    "slot_submitted": "s",
    "repair_slot": "s",
    "orphaned_tasks": "s",
    "requeue": "rbb",
    "fail_record": "ry",
    "cancel_record": "ruy",
    "cancel_children": "uy",
    "running_slot": "ru",
    "replace_value": "fy",
    "create_queue": "snb",
    "serve_mailbox": "q",
    "close_queue": "qy",
    "free_queue": "q",
    "rename_queue_class": "qn",
    "queue_state": "q",
    "queue_length": "q",
    "queue_closed": "q",
    "task_queues": "",
    "pop_control": "",
    "end_actor": "r",
    "assign": "sq",
    "unassign": "s",
    "end_worker": "s",
    "set_starving": "b",
    "wake_slot": "s",
    "wait_doorbell": "t",
    "ring_doorbell": "",
    "activate": "",
    "deactivate": "",
    "may_spin": "",
    "send_call": "qf",
    "record_state": "r",
    "record_uid": "r",
    "record_is_error": "r",
    "record_count": "r",
    "record_kind": "r",
    "record_size": "r",
    "record_where": "r",
    "record_pid": "r",
    "record_cancelled": "r",
    "record_actor": "r",
    "record_name": "r",
    "read_record": "r",
    "hold": "r",
    "find_record": "un",
    "keep": "r",
    "function_record": "vx",
    "task_of_ref": "f",
    "raw_value": "f",
    "mark_code": "f",
    "spill": "n",
    "trim": "t",
    "memory_stats": "",
    "holders": "n",
    "list_records": "n",
    "list_past_tasks": "n",
    "get": "f",
    "put": "v",
    "wait": "l",
    "get_timed": "lt",
    "put_value": "v",
    "wait_refs": "llnt",
    "is_sealed": "f",
    "next_item": "ft",
    "stream_state": "f",
    "watch": "fcb",
    "watch_step": "t",
    "Mailbox": "qrubn",
    "Submitter": "fqmcccnnnbnbnfc",
    "create_actor_record": "fpdz",
    "start_actor": "f",
    "take": "q",
    "wait_work": "qt",
    "wait_mail": "q",
    "spin_work": "z",
    "actor_args": "r",
    "seal_actor": "rvb",
    "function_ref": "r",
    "set_current": "k",
    "current_record": "",
    "current_cancelled": "",
    "ObjectRef": "y",
    "run": "qvb",
}
TASK_CALLS = {
    "args": "",
    "complete": "v",
    "complete_many": "p",
    "complete_first": "pv",
    "fail": "v",
    "inherit": "f",
    "retry": "",
    "yield_item": "vb",
    "wait_room": "",
    "has_room": "",
}
NOT_INTERRUPTED = {"wait_doorbell"}


class Interrupted(Exception):
    """The call would have waited for ever."""


def batch(chance: random.Random, count: int, folder: Path) -> None:
    """In a process that has no arena yet."""
    signal.signal(signal.SIGALRM, Alarm.ring)
    # The real ones of the names in question would start a session.
    _kernel.set_hooks(
        {**hooks.all_hooks(), "get": _refuse, "put": _refuse, "wait": _refuse, "not_attached": _refuse, "stream": _accept}
    )
    game = Game(chance, folder)
    for _ in range(count):
        game.move()
    game.note("gc")
    game.kept.clear()
    gc.collect()
    game.note("detach_arena")
    _kernel.detach_arena()


class Alarm:
    """Interrupts a call that takes too long. It rings again and again, since a ring just before a sleep does not end that; the
    first one that is heard is the only one."""

    armed = False

    def __enter__(self) -> None:
        Alarm.armed = True
        signal.setitimer(signal.ITIMER_REAL, CALL_LIMIT_S, CALL_LIMIT_S)

    def __exit__(self, *error: object) -> None:
        Alarm.armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    @classmethod
    def ring(cls, number: int, frame: FrameType | None) -> None:
        if cls.armed:
            cls.armed = False
            raise Interrupted


class Game:
    def __init__(self, chance: random.Random, folder: Path) -> None:
        self.chance = chance
        self._calls = os.open(folder / "calls", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        _kernel.create_arena(STORE_BYTES, str(folder / "spilled"), 2, bytes(8))
        self.queue = _kernel.create_queue(_kernel.my_slot(), 1, False)
        self.kept: dict[str, list[Any]] = {kind: [] for kind in "sqrfkmc"}
        self.kept["s"] = [1, _kernel.reserve_slot(_kernel.ROLE_WORKER)]
        self.kept["q"] = [1, self.queue, _kernel.create_queue(_kernel.my_slot(), 2, True)]
        for value in (1, "text", [1, 2], b"x" * 100_000):
            self.keep(_kernel.put_value(value))
        self.function = _kernel.function_record(len, "len")
        self.held: list[int] = []

    def note(self, text: str) -> None:
        os.write(self._calls, f"{text}\n".encode(errors="replace"))

    def move(self) -> None:
        kind = self.chance.random()
        if kind < 0.1:
            self._submit()
        elif kind < 0.25 and self.kept["k"]:
            self._call_task()
        elif kind < 0.3 and self.held:
            self._call("release", _kernel.release, [self.held.pop()])
        elif kind < 0.35:
            self._forget()
        else:
            self._call_kernel()

    # ------------------------------------------------------------ moves

    def _submit(self) -> None:
        """A task as it should be, so that there are some."""
        if self.function.epoch != _kernel.arena_epoch():  # adopt_slot makes all earlier handles strangers
            self.function = _kernel.function_record(len, "len")
        num_returns = self.chance.choice((0, 1, 1, 3))
        streaming = self.chance.random() < 0.2
        submitter = _kernel.Submitter(
            function=self.function,
            queue=self.queue,
            mailbox=None,
            check=_accept,
            fallback=_accept,
            too_many=_accept,
            min_positional=0,
            max_positional=-1,
            retries=self.chance.randint(-1, 2),
            retry_exceptions=False,
            num_returns=1 if streaming else num_returns,
            streaming=streaming,
            backpressure=self.chance.choice((0, 1)),
        )
        self._call("submitter", submitter, [self.draw(self.chance.choice("fv")) for _ in range(self.chance.randint(0, 3))])

    def _call_task(self) -> None:
        name = self.chance.choice(list(TASK_CALLS))
        task = self.chance.choice(self.kept["k"])
        self._call(f"task.{name}", getattr(task, name), self.arguments(TASK_CALLS[name]))

    def _call_kernel(self) -> None:
        name = self.chance.choice(list(CALLS))
        arguments = self.arguments(CALLS[name])
        if name in NOT_INTERRUPTED:
            arguments = [self.chance.choice((0, 0.001))]
        result = self._call(name, getattr(_kernel, name), arguments)
        if name == "keep" and result is True:
            self.held.append(arguments[0])

    def _forget(self) -> None:
        kind = self.chance.choice("frkm")
        if self.kept[kind]:
            self.note(f"forget {kind}")
            self.kept[kind].pop(self.chance.randrange(len(self.kept[kind])))

    def _call(self, name: str, function: Any, arguments: list[Any]) -> Any:
        self.note(f"{name}({', '.join(map(_shown, arguments))})")
        try:
            with Alarm():
                result = function(*arguments)
        except Exception:
            signal.setitimer(signal.ITIMER_REAL, 0)
            return None
        self.keep(result)
        return result

    # ------------------------------------------------------------ what is at hand

    def keep(self, thing: Any) -> None:
        if isinstance(thing, _kernel.ObjectRef):
            self._add("f", thing)
            self._add("r", thing.record)
        elif isinstance(thing, _kernel.Task):
            self._add("k", thing)
        elif isinstance(thing, _kernel.Mailbox):
            self._add("m", thing)
        elif isinstance(thing, (list, tuple)):
            for item in thing[:5]:
                self.keep(item)

    def _add(self, kind: str, thing: Any) -> None:
        things = self.kept[kind]
        if len(things) >= KEPT_MAX:
            things.pop(self.chance.randrange(len(things)))
        things.append(thing)

    def arguments(self, kinds: str) -> list[Any]:
        kinds = self.chance.choice([kinds[:-1], kinds + "v"]) if self.chance.random() < 0.03 else kinds
        return [self.draw(self.chance.choice("sqrfnbytvxlukcmdpz") if self.chance.random() < 0.05 else kind) for kind in kinds]

    def draw(self, kind: str) -> Any:
        chance = self.chance
        if kind in "sqrfkm" and self.kept[kind] and chance.random() < 0.9:
            return chance.choice(self.kept[kind])
        if kind in "sqrn":
            return chance.choice((0, 1, 2, 3, chance.randint(0, 50), 1024, 2**25 - 1, 2**31, 2**32 - 1, 2**32, 2**64, -1))
        if kind == "f" or kind == "k" or kind == "m":
            return None
        if kind == "u":
            return (
                chance.choice([ref.uid for ref in self.kept["f"]] or [0]) if chance.random() < 0.9 else chance.getrandbits(64)
            )
        if kind == "l":
            return [self.draw("f") for _ in range(chance.randint(0, 4))]
        if kind == "z":
            return [self.draw("q") for _ in range(chance.randint(0, 3))]
        return self._value(kind)

    def _value(self, kind: str) -> Any:
        chance = self.chance
        if kind == "t":
            return chance.choice((0, 0.001, 0.01, -1, math.nan, math.inf, 1e300))
        if kind == "y":
            return chance.choice((dumps_error(ValueError("y")), b"", bytes(28), chance.randbytes(8), chance.randbytes(28)))
        if kind == "b":
            return chance.random() < 0.5
        if kind == "x":
            return chance.choice(("", "name", "n" * 2000, "\udc80", "ä"))
        if kind == "c":
            return chance.choice((_accept, len, None))
        if kind == "p":
            return tuple(self.draw(chance.choice("fvn")) for _ in range(chance.randint(0, 3)))
        if kind == "d":
            return {name: self.draw("f") for name in chance.choice(("", "a", "ab"))}
        plain = (None, 1, 2**70, 1.5, "text", b"bytes", b"x" * 200_000, [1], {"a": 1}, ValueError("v"), object, lambda: None)
        return chance.choice((*plain, *self.kept["f"][:1], self.kept["f"][:3], len))


def _accept(*arguments: Any, **keywords: Any) -> None:
    return None


def _refuse(*arguments: Any, **keywords: Any) -> None:
    raise RuntimeError("there is no session")


def _shown(thing: Any) -> str:
    text = f"<ref {thing.record}>" if isinstance(thing, _kernel.ObjectRef) else repr(thing)
    return text if len(text) < 60 else f"{text[:50]}...({len(text)})"
