"""Loggers: callbacks that write what trials report."""

from shoal.tune.logger.csv import CSVLoggerCallback
from shoal.tune.logger.json import JsonLoggerCallback
from shoal.tune.logger.logger import LoggerCallback
from shoal.tune.logger.tensorboardx import TBXLoggerCallback

__all__ = ["CSVLoggerCallback", "JsonLoggerCallback", "LoggerCallback", "TBXLoggerCallback"]
