from __future__ import annotations

import json
import logging

import pytest

from shoal.core.logging_config import LoggingConfig, make_formatter


def record(**extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"msg": "hello %s", "args": ("you",), "levelname": "INFO", "name": "n", "filename": "f.py"})
    made.__dict__.update(extra)
    return made


def facts() -> dict[str, str]:
    return {"job_id": "01"}


def test_bad_configurations() -> None:
    with pytest.raises(ValueError, match="Invalid encoding type: XML"):
        LoggingConfig(encoding="XML")
    with pytest.raises(ValueError, match="Unknown python logging standard attribute: nothing"):
        LoggingConfig(additional_log_standard_attrs=["nothing"])


def test_text_lines_end_with_facts() -> None:
    line = make_formatter(LoggingConfig(additional_log_standard_attrs=["name"]), facts).format(record(mine=3, created=1.5))
    assert "INFO f.py:" in line and line.endswith("-- hello you name=n mine=3 job_id=01 timestamp_ns=1500000000")


def test_json_lines_are_objects() -> None:
    try:
        raise ValueError("inside")
    except ValueError as error:
        failed = record(exc_info=(ValueError, error, error.__traceback__), exc_text=None)
    values = json.loads(make_formatter(LoggingConfig(encoding="JSON"), facts).format(failed))
    assert values["timestamp_ns"] == pytest.approx(failed.created * 1e9)
    assert values["message"] == "hello you" and values["job_id"] == "01" and "ValueError: inside" in values["exc_text"]


def test_applying_again_replaces_the_handler() -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        for name in ("INFO", "WARNING"):
            LoggingConfig(log_level=name).apply(facts)
        added = [handler for handler in root.handlers if handler not in before]
        assert len(added) == 1 and root.level == logging.WARNING == added[0].level
    finally:
        root.handlers, root.level = before, level


def test_it_goes_through_a_dict() -> None:
    config = LoggingConfig(encoding="JSON", log_level="DEBUG", additional_log_standard_attrs=["name"])
    assert LoggingConfig.from_dict({**config.to_dict(), "newer": 1}) == config
