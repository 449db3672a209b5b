"""What a process gives the next of its trials."""

from __future__ import annotations

import os
import random

import numpy as np

from shoal.tune.execution.process_state import ProcessState


def test_the_next_trial_finds_the_variables_of_a_new_process(monkeypatch) -> None:
    monkeypatch.setenv("SHOAL_TEST_CHANGED", "before")
    monkeypatch.setenv("SHOAL_TEST_DELETED", "before")
    state, before = ProcessState(), dict(os.environ)
    os.environ["SHOAL_TEST_CHANGED"] = "after"
    del os.environ["SHOAL_TEST_DELETED"]
    os.environ["SHOAL_TEST_ADDED"] = "after"
    state.renew()
    assert dict(os.environ) == before and os.getenv("SHOAL_TEST_ADDED") is None


def test_only_the_variables_that_a_trial_has_changed_are_set_again(monkeypatch) -> None:
    state = ProcessState()
    monkeypatch.setenv("SHOAL_TEST_ADDED", "after")
    touched: list[str] = []
    original = os.unsetenv
    monkeypatch.setattr(os, "unsetenv", lambda name: (touched.append(os.fsdecode(name)), original(name)))
    monkeypatch.setattr(os, "putenv", lambda name, value: touched.append(os.fsdecode(name)))
    state.renew()
    assert touched == ["SHOAL_TEST_ADDED"]


def test_two_trials_of_a_process_draw_different_random_numbers() -> None:
    state = ProcessState()
    drawn = []
    for _ in range(2):
        random.seed(1)
        np.random.seed(1)
        state.renew()
        drawn.append((random.random(), float(np.random.random())))
    assert drawn[0][0] != drawn[1][0] and drawn[0][1] != drawn[1][1]
