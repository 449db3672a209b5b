from __future__ import annotations

import builtins
import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from shoal.experimental import tqdm_ray
from shoal.experimental.tqdm_ray import MAGIC_TOKEN, as_text, process_line, safe_print, tqdm


@pytest.fixture
def no_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    monkeypatch.setattr(tqdm_ray, "_bars", tqdm_ray._Bars())


@pytest.fixture
def in_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tqdm_ray, "_in_worker", lambda: True)


def sent(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    lines = capsys.readouterr().out.splitlines()
    return [json.loads(line.removeprefix(MAGIC_TOKEN)) for line in lines]


@pytest.mark.usefixtures("in_worker")
def test_a_worker_sends_its_state_as_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(tqdm([1, 2, 3], desc="steps", flush_interval_s=0)) == [1, 2, 3]
    states = sent(capsys)
    assert [state["n"] for state in states] == [1, 2, 3, 3]
    assert states[-1] == {**states[0], "n": 3, "closed": True}
    assert (states[0]["desc"], states[0]["total"], states[0]["unit"]) == ("steps", 3, "it")


@pytest.mark.usefixtures("in_worker")
def test_states_within_the_interval_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    with tqdm(total=10, flush_interval_s=3600) as bar:
        for _ in range(10):
            bar.update()
        bar.set_description("late")
    assert [(state["n"], state["desc"]) for state in sent(capsys)] == [(1, ""), (10, "late")]


@pytest.mark.usefixtures("no_tqdm")
def test_the_driver_draws_what_a_line_describes(capsys: pytest.CaptureFixture[str]) -> None:
    state = {"id": "x", "pid": 1, "position": 0, "desc": "steps", "total": 4, "unit": "it", "n": 1, "closed": False}
    assert process_line(f"some prefix {MAGIC_TOKEN}{json.dumps(state)}")
    assert process_line(MAGIC_TOKEN + json.dumps({**state, "n": 4, "closed": True}))
    assert capsys.readouterr().err.splitlines() == [
        "(pid=1) steps: [#####...............] 1/4 it",
        "(pid=1) steps: [####################] 4/4 it",
    ]


def test_other_lines_are_not_taken() -> None:
    assert not process_line("hello")
    assert not process_line(MAGIC_TOKEN + "{torn")


@pytest.mark.usefixtures("no_tqdm")
def test_bars_of_the_driver_are_drawn_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    bar = tqdm(desc="own", flush_interval_s=0)
    bar.update(2)
    bar.close()
    bar.close()
    assert capsys.readouterr().err == "own: 2 it\n"


def test_tqdm_draws_when_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Fake:
        def __init__(self, **options: Any) -> None:
            calls.append(("new", options["total"], options["position"]))
            self.n = 0

        def __getattr__(self, name: str) -> Any:
            return lambda *args, **kwargs: calls.append((name, *args))

    monkeypatch.setitem(sys.modules, "tqdm.auto", SimpleNamespace(tqdm=Fake))
    monkeypatch.setattr(tqdm_ray, "_bars", tqdm_ray._Bars())
    monkeypatch.setattr(builtins, "print", lambda *values: calls.append(("print", *values)))
    bar = tqdm(total=5, flush_interval_s=0)
    bar.update(2)
    safe_print("between")
    bar.close()
    assert [call for call in calls if call[0] != "set_description"] == [
        ("new", 5, 0),
        ("update", 2),
        ("clear",),
        ("print", "between"),
        ("refresh",),
        ("update", 2),
        ("close",),
    ]


def test_an_unknown_total_shows_only_the_count() -> None:
    state = {"pid": 1, "desc": "", "total": None, "unit": "rows", "n": 7}
    assert as_text(state) == "(pid=1): 7 rows"


def test_a_bar_without_iterable_cannot_be_iterated() -> None:
    with pytest.raises(ValueError, match="iterable=None"):
        list(tqdm(total=3))
