"""One file of TensorBoard events. Imports tensorboardX, for its formats.

The files are written here, because tensorboardX's own writer starts two threads and syncs the disk three times for each trial,
which costs more than everything else that Tune does for it.
"""

from __future__ import annotations

import platform
import re
import struct
import time
from functools import lru_cache
from typing import Any

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionStartInfo
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboardX.summary import hparams

from shoal.tune.logger.crc32c import masked_crc32c
from shoal.tune.logger.logger import open_among_files

_NOT_IN_A_TAG = re.compile(r"[^-/\w.]")


class EventFile:
    """Records of a length, its checksum, an Event, and its checksum."""

    def __init__(self, trial: Any) -> None:
        now = time.time()
        self._file = open_among_files(trial, f"events.out.tfevents.{int(now)}.{platform.node()}", "ab")
        self._write(Event(wall_time=now, file_version="brain.Event:2"))

    def add_scalars(self, scalars: dict[str, float], step: int) -> None:
        values = [Summary.Value(tag=_tag(name), simple_value=value) for name, value in scalars.items()]
        self._write(Event(wall_time=time.time(), step=int(step), summary=Summary(value=values)))
        self._file.flush()

    def add_hyperparameters(self, parameters: dict[str, Any], metrics: dict[str, float]) -> None:
        plain = {
            name: value if isinstance(value, (bool, int, float, str)) else str(value) for name, value in parameters.items()
        }
        first, last = _around_values(tuple((name, _kind(value)) for name, value in plain.items()), tuple(metrics))
        now = time.time()
        for summary in (first, _values(plain), last):
            self._write(Event(wall_time=now, summary=summary))

    def _write(self, event: Event) -> None:
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        self._file.write(length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data)))

    def close(self) -> None:
        self._file.close()


@lru_cache(maxsize=1024)
def _tag(name: str) -> str:
    return _NOT_IN_A_TAG.sub("_", name)


def _kind(value: Any) -> type:
    return bool if isinstance(value, bool) else str if isinstance(value, str) else float


@lru_cache(maxsize=64)
def _around_values(parameters: tuple[tuple[str, type], ...], metrics: tuple[str, ...]) -> tuple[Summary, Summary]:
    """The first and the last of the three summaries of hyperparameters, which hold names and kinds, the same in many trials."""
    first, _, last = hparams({name: kind() for name, kind in parameters}, dict.fromkeys(metrics, 0.0))
    return first, last


def _values(parameters: dict[str, Any]) -> Summary:
    """The summary in between."""
    start = SessionStartInfo()
    for name, value in parameters.items():
        kind = _kind(value)
        setattr(start.hparams[name], _FIELDS[kind], kind(value))
    content = HParamsPluginData(session_start_info=start, version=0).SerializeToString()
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=content)
    value = Summary.Value(tag="_hparams_/session_start_info", metadata=SummaryMetadata(plugin_data=plugin))
    return Summary(value=[value])


_FIELDS = {bool: "bool_value", str: "string_value", float: "number_value"}
