"""What a job says at its start holds in its workers, too."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

import shoal
from shoal.exceptions import RayActorError
from shoal.job_config import JobConfig


@shoal.remote(num_cpus=0)
class Child:
    def ready(self) -> bool:
        return True


@shoal.remote(num_cpus=0)
class Parent:
    def child(self, lifetime: str | None) -> Any:
        self.kept = Child.remote() if lifetime is None else Child.options(lifetime=lifetime).remote()
        return self.kept

    def pid(self) -> int:
        return os.getpid()


@pytest.mark.parametrize(
    ("of_the_job", "of_the_child", "lives_on"),
    [("detached", None, True), ("detached", "non_detached", False), ("non_detached", None, False)],
)
def test_the_lifetime_that_a_job_gives_its_actors_holds_for_those_that_actors_make(
    of_the_job: str, of_the_child: str | None, lives_on: bool
) -> None:
    shoal.init(num_cpus=1, log_to_driver=False, job_config=JobConfig(default_actor_lifetime=of_the_job))
    try:
        parent = Parent.remote()
        child = shoal.get(parent.child.remote(of_the_child))
        assert shoal.get(child.ready.remote())
        os.kill(shoal.get(parent.pid.remote()), signal.SIGKILL)
        with pytest.raises(RayActorError):
            shoal.get(parent.pid.remote(), timeout=20)
        assert _is_dead(child, within_s=0.2 if lives_on else 20) is not lives_on
    finally:
        shoal.shutdown()


def _is_dead(actor: Any, within_s: float) -> bool:
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        try:
            shoal.get(actor.ready.remote(), timeout=20)
        except RayActorError:
            return True
        time.sleep(0.01)  # what is waited for happens in the daemon
    return False
