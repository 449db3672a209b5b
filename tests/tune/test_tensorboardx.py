"""TensorBoard's event files."""

from __future__ import annotations

import math
import random
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import hparams

from shoal.tune.logger import TBXLoggerCallback
from shoal.tune.logger import crc32c as own


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


def test_hyperparameters_are_those_that_tensorboardx_writes_also_for_the_second_trial_of_a_kind(tmp_path: Path) -> None:
    for number in range(2):
        trial = trial_in(tmp_path / str(number))
        trial.evaluated_params = {"rate": 0.5 + number, "kind": f"kind {number}", "yes": number == 0, "deep": None, "count": 7}
        logger = TBXLoggerCallback()
        logger.on_trial_result(1, [trial], trial, result(1, score=float(number)))
        logger.on_trial_complete(1, [trial], trial)
        expected = hparams(
            {**trial.evaluated_params, "deep": "None"}, {"ray/tune/training_iteration": 1.0, "ray/tune/score": float(number)}
        )
        found = [event.summary for event in read_events(tmp_path / str(number)) if event.HasField("summary")]
        assert found[-3:] == list(expected)


def test_the_checksum_is_the_one_of_the_standard_for_every_length() -> None:
    assert own.crc32c(b"123456789") == 0xE3069283
    generator = random.Random(1)
    for length in [*range(300), 511, 512, 513, 2000]:
        data = generator.randbytes(length)
        assert own.masked_crc32c(data) == masked_crc32c(data)


def test_a_restarted_trial_adds_to_its_events(tmp_path: Path) -> None:
    trial = trial_in(tmp_path)
    for step in (1, 2):
        logger = TBXLoggerCallback()
        logger.on_trial_result(step, [trial], trial, result(step, score=float(step)))
        logger.on_trial_error(step, [trial], trial)

    steps = [event.step for event in read_events(tmp_path) if event.summary.value[:1] and event.step]
    assert steps == [1, 2]
