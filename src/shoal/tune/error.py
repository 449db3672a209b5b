"""What a tuning run raises."""

from __future__ import annotations


class TuneError(Exception):
    """A tuning run could not be set up, or one of its trials failed (``tune.run``)."""


class InfeasibleTrialError(RuntimeError):
    """A trial asks for more than the whole cluster has, so it could never start."""
