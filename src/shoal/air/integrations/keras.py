"""Where programs for Ray find the Keras callback; it is the one of ``tune.integration.keras``. Importing it needs keras."""

from __future__ import annotations

from shoal.tune.integration.keras import TuneReportCheckpointCallback as ReportCheckpointCallback

__all__ = ["ReportCheckpointCallback"]
