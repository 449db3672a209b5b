"""TensorBoard's event files."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from shoal.tune.logger import TBXLoggerCallback


def read_events(folder: Path) -> list[Any]:
    """The events of all files below ``folder``; every checksum is compared."""
    events = []
    for file in sorted(folder.rglob("events.out.tfevents.*")):
        data = file.read_bytes()
        while data:
            (length,), (length_sum,) = struct.unpack("<Q", data[:8]), struct.unpack("<I", data[8:12])
            content, (content_sum,) = data[12 : 12 + length], struct.unpack("<I", data[12 + length : 16 + length])
            assert masked_crc32c(data[:8]) == length_sum
            assert masked_crc32c(content) == content_sum
            events.append(Event.FromString(content))
            data = data[16 + length :]
    return events


def trial_in(folder: Path) -> Any:
    return SimpleNamespace(trial_id="t", local_path=str(folder), evaluated_params={"rate": 0.5, "kind": "a", "size": (1, 2)})


def result(step: int, **metrics: Any) -> dict[str, Any]:
    return {"training_iteration": step, "done": False, "pid": 3, "config": {"rate": 0.5}, **metrics}


def test_each_number_is_a_scalar_at_its_step(tmp_path: Path) -> None:
    logger, trial = TBXLoggerCallback(), trial_in(tmp_path)
    logger.on_trial_start(1, [trial], trial)
    logger.on_trial_result(
        1, [trial], trial, result(1, score=2.0, nested={"deep loss": 3}, text="x", nothing=math.nan, yes=True)
    )
    logger.on_trial_result(2, [trial], trial, result(2, score=4.0, timesteps_total=20))

    first, second = [event for event in read_events(tmp_path) if event.HasField("summary")]
    assert {value.tag: value.simple_value for value in first.summary.value} == {
        "ray/tune/training_iteration": 1,
        "ray/tune/score": 2,
        "ray/tune/nested/deep_loss": 3,
    }
    assert (first.step, second.step) == (1, 20)


def test_the_parameters_are_written_with_the_last_result(tmp_path: Path) -> None:
    logger, trial = TBXLoggerCallback(), trial_in(tmp_path)
    logger.on_trial_result(1, [trial], trial, result(1, score=2.0))
    logger.on_trial_complete(1, [trial], trial)

    tags = [value.tag for event in read_events(tmp_path) for value in event.summary.value]
    assert tags[-3:] == ["_hparams_/experiment", "_hparams_/session_start_info", "_hparams_/session_end_info"]


def test_a_restarted_trial_adds_to_its_events(tmp_path: Path) -> None:
    trial = trial_in(tmp_path)
    for step in (1, 2):
        logger = TBXLoggerCallback()
        logger.on_trial_result(step, [trial], trial, result(step, score=float(step)))
        logger.on_trial_error(step, [trial], trial)

    steps = [event.step for event in read_events(tmp_path) if event.summary.value[:1] and event.step]
    assert steps == [1, 2]
