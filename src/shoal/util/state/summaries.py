"""Counts over the rows of the state API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from shoal.util.state.rows import MEGABYTE

Row = dict[str, Any]


def summary_of_tasks(rows: Iterable[Row]) -> dict[str, Any]:
    """Task attempts by function or method name, with how many are in each state."""
    summary: dict[str, dict[str, Any]] = {}
    totals: Counter[str] = Counter()
    for row in rows:
        name = row["func_or_class_name"]
        entry = summary.setdefault(name, {"func_or_class_name": name, "type": row["type"], "state_counts": Counter()})
        entry["state_counts"][row["state"]] += 1
        totals[row["type"]] += 1
    return {
        "summary": _with_plain_counts(summary),
        "total_tasks": totals["NORMAL_TASK"],
        "total_actor_tasks": totals["ACTOR_TASK"],
        "total_actor_scheduled": totals["ACTOR_CREATION_TASK"],
        "summary_by": "func_name",
    }


def summary_of_actors(rows: Iterable[Row]) -> dict[str, Any]:
    """Actors by class, with how many are in each state."""
    summary: dict[str, dict[str, Any]] = {}
    total = 0
    for row in rows:
        name = row["class_name"]
        summary.setdefault(name, {"class_name": name, "state_counts": Counter()})["state_counts"][row["state"]] += 1
        total += 1
    return {"summary": _with_plain_counts(summary), "total_actors": total, "summary_by": "class"}


def summary_of_objects(rows: Iterable[Row]) -> dict[str, Any]:
    """References to objects by call site, with sizes and who holds them."""
    by_site: dict[str, list[Row]] = {}
    for row in rows:
        by_site.setdefault(row["call_site"] or "disabled", []).append(row)
    summary = {site: _objects_of_a_site(group) for site, group in by_site.items()}
    return {
        "summary": summary,
        "total_objects": sum(entry["total_objects"] for entry in summary.values()),
        "total_size_mb": sum(entry["total_size_mb"] for entry in summary.values()),
        "callsite_enabled": "disabled" not in by_site,
        "summary_by": "callsite",
    }


def _objects_of_a_site(rows: list[Row]) -> Row:
    # A size of -1 is one that is not known yet.
    sizes = [row["object_size"] for row in rows if (row["object_size"] or -1) >= 0]
    return {
        "total_objects": len(rows),
        "total_size_mb": sum(sizes) / MEGABYTE,
        "total_num_workers": len({row["pid"] for row in rows}),
        "total_num_nodes": len({row["ip"] for row in rows}),
        "task_state_counts": dict(Counter(row["task_status"] for row in rows)),
        "task_attempt_number_counts": dict(Counter(str(row["attempt_number"]) for row in rows)),
        "ref_type_counts": dict(Counter(row["reference_type"] for row in rows)),
    }


def _with_plain_counts(summary: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {**entry, "state_counts": dict(entry["state_counts"])} for name, entry in summary.items()}
