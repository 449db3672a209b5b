from __future__ import annotations

from typing import Any

import pytest

import shoal
from shoal.util import state

pytestmark = pytest.mark.usefixtures("cluster")


@shoal.remote(num_cpus=0)
def whisper() -> str | None:
    return shoal.get_runtime_context().get_task_name()


@shoal.remote(num_cpus=0)
class Whisperer:
    def told(self) -> None: ...

    @shoal.method(enable_task_events=False)
    def untold(self) -> None: ...


def listed() -> set[str]:
    return {str(task.name) for task in state.list_tasks()}


def on_the_timeline() -> set[str]:
    events: Any = shoal.timeline()
    return {event["name"].strip("\u2060") for event in events}


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_task_without_events_is_in_no_list_and_on_no_timeline(is_kept: bool) -> None:
    refs = [whisper.options(enable_task_events=is_told, name=f"{is_told}-{is_kept}").remote() for is_told in (True, False)]
    assert shoal.get(refs) == [f"True-{is_kept}", f"False-{is_kept}"]
    if not is_kept:
        refs.clear()  # the kernel remembers them as past tasks
    for names in (listed(), on_the_timeline()):
        assert f"True-{is_kept}" in names
        assert f"False-{is_kept}" not in names


def test_methods_follow_the_call_then_the_method_then_the_actor() -> None:
    quiet = Whisperer.options(enable_task_events=False).remote()
    loud = Whisperer.remote()
    shoal.get([quiet.told.options(name="quiet-1").remote(), loud.told.options(name="loud-1").remote()])
    shoal.get([quiet.told.options(name="quiet-2", enable_task_events=True).remote()])
    shoal.get(
        [loud.untold.options(name="loud-2").remote(), loud.untold.options(name="loud-3", enable_task_events=True).remote()]
    )
    assert {name for name in listed() if name.startswith(("quiet", "loud"))} == {"loud-1", "quiet-2", "loud-3"}


def test_a_task_without_events_that_dies_is_named_in_its_error() -> None:
    @shoal.remote(num_cpus=0, max_retries=0, enable_task_events=False)
    def die() -> None:
        raise SystemExit(3)

    with pytest.raises(shoal.exceptions.WorkerCrashedError) as raised:
        shoal.get(die.remote())
    assert "the task " in str(raised.value) and "\u2060" not in str(raised.value)
