"""How a job logs: ``LoggingConfig`` sets up the root logger of the driver and of the job's workers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

ENCODINGS = ("TEXT", "JSON")
STANDARD_ATTRIBUTES = frozenset(logging.makeLogRecord({}).__dict__) | {"asctime", "message", "taskName"}
_TEXT_FORMAT = "%(asctime)s\t%(levelname)s %(filename)s:%(lineno)s -- %(message)s"
_JSON_ATTRIBUTES = ("asctime", "levelname", "message", "filename", "lineno")

Facts = Callable[[], dict[str, str]]
"""What each record is stamped with: job_id, node_id, worker_id, actor_id, task_id, ... of the code that logs."""


@dataclass
class LoggingConfig:
    """``encoding`` is "TEXT" or "JSON"; ``additional_log_standard_attrs`` names more attributes of ``logging.LogRecord`` to
    show.

    Raises ValueError for another encoding or attribute."""

    encoding: str = "TEXT"
    log_level: str = "INFO"
    additional_log_standard_attrs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise ValueError(f"Invalid encoding type: {self.encoding}. Valid encoding types are: {list(ENCODINGS)}")
        for name in self.additional_log_standard_attrs:
            if name not in STANDARD_ATTRIBUTES:
                raise ValueError(
                    f"Unknown python logging standard attribute: {name}. "
                    f"The valid attributes are: {sorted(STANDARD_ATTRIBUTES)}"
                )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LoggingConfig:
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})

    def apply(self, facts: Facts) -> None:
        """Makes the root logger of this process write so, to standard error."""
        handler = logging.StreamHandler()
        handler.setLevel(self.log_level)
        handler.setFormatter(make_formatter(self, facts))
        root = logging.getLogger()
        root.setLevel(self.log_level)
        for old in [each for each in root.handlers if getattr(each, "is_of_logging_config", False)]:
            root.removeHandler(old)
        handler.is_of_logging_config = True  # type: ignore[attr-defined]
        root.addHandler(handler)


def make_formatter(config: LoggingConfig, facts: Facts) -> logging.Formatter:
    return _JsonFormatter(config, facts) if config.encoding == "JSON" else _TextFormatter(config, facts)


class _TextFormatter(logging.Formatter):
    def __init__(self, config: LoggingConfig, facts: Facts) -> None:
        super().__init__(_TEXT_FORMAT)
        self.config = config
        self.facts = facts

    def format(self, record: logging.LogRecord) -> str:
        pairs = {**_extra(self.config, record), **self.facts(), "timestamp_ns": _timestamp_ns(record)}
        return " ".join([super().format(record), *(f"{name}={value}" for name, value in pairs.items())])


class _JsonFormatter(logging.Formatter):
    def __init__(self, config: LoggingConfig, facts: Facts) -> None:
        super().__init__()
        self.config = config
        self.facts = facts

    def format(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        record.asctime = self.formatTime(record)
        values = {name: getattr(record, name) for name in _JSON_ATTRIBUTES}
        if record.exc_info:
            values["exc_text"] = self.formatException(record.exc_info)
        return json.dumps(
            {**values, **_extra(self.config, record), **self.facts(), "timestamp_ns": _timestamp_ns(record)}, default=str
        )


def _timestamp_ns(record: logging.LogRecord) -> int:
    """When it was logged, finer than the time that people read."""
    return int(record.created * 1e9)


def _extra(config: LoggingConfig, record: logging.LogRecord) -> dict[str, Any]:
    """The attributes asked for, and those the caller passed as ``extra``."""
    asked = {name: getattr(record, name, None) for name in config.additional_log_standard_attrs}
    passed = {name: value for name, value in record.__dict__.items() if name not in STANDARD_ATTRIBUTES}
    return {**asked, **passed}
