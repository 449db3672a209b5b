"""Metrics that tables leave out."""

BLACKLISTED_KEYS = frozenset(
    {
        "config",
        "date",
        "done",
        "hostname",
        "iterations_since_restore",
        "node_ip",
        "pid",
        "time_since_restore",
        "timestamp",
        "trial_id",
        "experiment_tag",
        "should_checkpoint",
        "_report_on",
    }
)

__all__ = ["BLACKLISTED_KEYS"]
