"""Errors of the state API."""

from __future__ import annotations


class RayStateApiException(Exception):
    """The state cannot be read as asked: an unknown column, a limit out of range, rows that are missing, ..."""


class ServerUnavailable(RayStateApiException):
    """There is no cluster to ask."""


class DataSourceUnavailable(Exception):
    """A part of the cluster did not answer."""
