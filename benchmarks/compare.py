"""Shoal beside Ray 2.60 and joblib, in turn on this machine, with what each figure was meant to reach.

    python benchmarks/compare.py [--rounds 2] [--groups tasks actors] [--against FILE] [--json FILE] [--markdown FILE]

Ray, joblib and what measuring needs are installed into ``benchmarks/environments/rivals`` the first time. Shoal is measured in
the interpreter that runs this file, which needs numpy, psutil and pip.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
RIVALS = HERE / "environments" / "rivals"
RIVAL_PACKAGES = ("ray==2.60.*", "joblib", "numpy", "psutil")
RESULTS = HERE / "results.json"
GROUPS = ("start", "tasks", "actors", "objects", "scale", "calls", "limits")
LIMIT_S = 1800


@dataclass(frozen=True)
class Figure:
    """One row of the table."""

    label: str
    unit: str
    times: float | None = None  # so many times better than Ray
    at_most: float | None = None
    at_least: float | None = None

    @property
    def is_rate(self) -> bool:
        return self.unit.endswith("/s")

    def better(self, other: float, own: float) -> float | None:
        if not other or not own:
            return None
        return own / other if self.is_rate else other / own

    def verdict(self, other: float | None, own: float) -> str:
        wanted, met = [], []
        times = self.better(other, own) if other is not None else None
        if self.times is not None and times is not None:
            wanted.append(f"{self.times:g}x")
            met.append(times >= self.times)
        if self.at_most is not None:
            wanted.append(f"<= {self.at_most:g} {self.unit}")
            met.append(own <= self.at_most)
        if self.at_least is not None:
            wanted.append(f">= {self.at_least:g} {self.unit}")
            met.append(own >= self.at_least)
        return f"{', '.join(wanted)}: {'reached' if all(met) else 'FELL SHORT'}" if wanted else ""


FIGURES = {
    "import_init_first_s": Figure("import, init and first result", "s", times=20, at_most=0.4),
    "idle_mb": Figure("idle memory without the driver", "MB", at_most=60),
    "idle_cpu_percent": Figure("idle processor use", "%", at_most=0.5),
    "tasks_sync_per_s": Figure("tasks, one at a time", "/s", times=50),
    "tasks_async_per_s": Figure("tasks, 1,000 at a time", "/s", times=100),
    "tasks_1kb_argument_per_s": Figure("tasks with 1 kB of argument", "/s"),
    "actor_sync_per_s": Figure("actor calls, one at a time", "/s", times=50),
    "actor_async_per_s": Figure("actor calls, 1,000 at a time", "/s", times=50),
    "async_actor_sync_per_s": Figure("async actor calls, one at a time", "/s", times=20),
    "async_actor_async_per_s": Figure("async actor calls, 1,000 at a time", "/s", times=40),
    "actors_n_to_n_per_s": Figure("2 actors calling 2 actors", "/s", times=40),
    "put_small_per_s": Figure("put of a small value", "/s", times=100),
    "get_small_per_s": Figure("get of a small value", "/s", times=100),
    "put_100mb_gb_per_s": Figure("put of 100 MB", "GB/s"),
    "put_100mb_percent_of_memcpy": Figure("put of 100 MB, of what memcpy does", "%", at_least=60),
    "get_100mb_us": Figure("get of 100 MB", "us", at_most=20),
    "chain_of_500_s": Figure("chain of 500 dependent tasks", "s", times=30),
    "wait_1000_one_by_one_per_s": Figure("wait one by one over 1,000 references", "/s", times=50),
    "get_10000_refs_per_s": Figure("get of a list of 10,000 references", "/s", times=20),
    "actors_created_per_s": Figure("actors created and called, 20", "/s", times=100),
    "actor_mb": Figure("private memory of an actor", "MB", at_most=8),
    "arguments_10000_s": Figure("10,000 references as arguments", "s", at_most=0.5),
    "returns_3000_s": Figure("3,000 returns of one task", "s", at_most=0.5),
    "get_10000_objects_s": Figure("get of 10,000 objects", "s", at_most=0.5),
    "million_tasks_s": Figure("1,000,000 queued tasks", "s", at_most=30),
    "memory_before_mb": Figure("memory of everything before them", "MB"),
    "memory_after_mb": Figure("memory of everything afterwards", "MB"),
    "memory_given_back_after_s": Figure("given back after", "s"),
    "chain_of_1000_left_after_3s_loop_s": Figure("chain of 1,000: left to wait after a 3 s loop", "s", at_most=0.05),
    "live_actors_1000_s": Figure("1,000 actors created and called", "s"),
    "live_actors_1000_called_again_s": Figure("1,000 live actors called again", "s"),
    "shutdown_s": Figure("shutdown", "s"),
}
CALLS = Figure("10,000 tiny calls", "s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="how often each engine is measured; medians are shown (2)")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--rivals", help="an interpreter that has ray, joblib, numpy and psutil, instead of making one")
    parser.add_argument("--limits-on-ray", action="store_true", help="measure the group 'limits' on Ray too: many minutes")
    parser.add_argument(
        "--against", type=Path, default=RESULTS, help="figures of an earlier run, to show what moved (results.json)"
    )
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    options = parser.parse_args()
    rivals = options.rivals or rival_interpreter()

    found: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in ("ray", "shoal", "joblib")}
    for _ in range(options.rounds):
        for group in options.groups:
            for engine, python in engines_of(group, rivals, options.limits_on_ray):
                print(f"measuring {engine}: {group}", file=sys.stderr)
                for name, value in measured(python, engine, group).items():
                    found[engine][name].append(value)
    medians = {engine: {name: statistics.median(values) for name, values in rows.items()} for engine, rows in found.items()}
    earlier = json.loads(options.against.read_text(encoding="utf-8")) if options.against.exists() else {}
    table = markdown_of(medians, earlier)
    print(table)
    if options.json:
        options.json.write_text(json.dumps(medians, indent=1), encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(table, encoding="utf-8")


def rival_interpreter(folder: Path = RIVALS, packages: tuple[str, ...] = RIVAL_PACKAGES) -> str:
    """The interpreter of the environment in ``folder``, which is made unless an earlier call has made it to the end."""
    python, whole = folder / "bin" / "python", folder / "installed.txt"
    wanted = "\n".join(packages)
    if not (python.exists() and whole.exists() and whole.read_text(encoding="utf-8") == wanted):
        print(f"installing {', '.join(packages)} into {folder}", file=sys.stderr)
        for command in installation(folder, packages):
            subprocess.run(command, check=True)
        whole.write_text(wanted, encoding="utf-8")
    return str(python)


def installation(folder: Path, packages: tuple[str, ...]) -> list[list[str]]:
    """The commands that make the environment. Pip comes from this interpreter's environment: Debian's python3 may have no
    ensurepip, which an environment with a pip of its own needs."""
    python = str(folder / "bin" / "python")
    return [
        [sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)],
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check", *packages],
    ]


def engines_of(group: str, rivals: str, limits_on_ray: bool) -> list[tuple[str, str]]:
    engines = [("shoal", sys.executable)]
    if group != "limits" or limits_on_ray:
        engines.insert(0, ("ray", rivals))
    if group == "calls":
        engines.append(("joblib", rivals))
    return engines


def measured(python: str, engine: str, group: str) -> dict[str, float]:
    command = [python, str(HERE / "measure.py"), engine, group]
    environment = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "SHOAL_AS_RAY")}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S, env=environment, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FIGURES ")]
    if not lines:
        raise SystemExit(f"{engine} gave no figures for {group} (exit {done.returncode}):\n{done.stderr[-3000:]}")
    figures: dict[str, float] = json.loads(lines[-1].removeprefix("FIGURES "))
    return figures


def markdown_of(medians: dict[str, dict[str, float]], earlier: dict[str, dict[str, float]]) -> str:
    rows = ["| figure | Ray 2.60 | Shoal | times better | wanted | moved |", "| --- | ---: | ---: | ---: | --- | ---: |"]
    ray, shoal, joblib = medians["ray"], medians["shoal"], medians["joblib"]
    for name, figure in {**FIGURES, "calls_10000_s": CALLS}.items():
        if name in shoal:
            rows.append(row_of(figure, ray.get(name), shoal[name], moved(name, figure, medians, earlier)))
    if "calls_10000_s" in joblib:
        times = CALLS.better(joblib["calls_10000_s"], shoal["calls_10000_s"]) or 0
        rows.append(
            f"| 10,000 tiny calls with joblib instead of Ray | {joblib['calls_10000_s']:.4g} s | as above | {times:.3g} | | |"
        )
    return "\n".join(rows) + "\n"


def moved(name: str, figure: Figure, now: dict[str, dict[str, float]], earlier: dict[str, dict[str, float]]) -> str:
    """By how much the figure is better (+) or worse (-) than in the earlier run. Where both runs measured Ray too it is the
    factor over Ray that is compared: a slower machine slows both."""
    before = earlier.get("shoal", {}).get(name)
    if before is None:
        return ""
    change = figure.better(before, now["shoal"][name])
    rivals = now["ray"].get(name), earlier.get("ray", {}).get(name)
    if change and rivals[0] and rivals[1]:
        change /= figure.better(rivals[1], rivals[0]) or 1
    return f"{100 * (change - 1):+.0f} %" if change else ""


def row_of(figure: Figure, other: float | None, own: float, change: str) -> str:
    times = figure.better(other, own) if other is not None else None
    return (
        f"| {figure.label} | {shown(other, figure.unit)} | {shown(own, figure.unit)} "
        f"| {f'{times:.3g}' if times else ''} | {figure.verdict(other, own)} | {change} |"
    )


def shown(value: float | None, unit: str) -> str:
    if value is None:
        return "not measured"
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}"


if __name__ == "__main__":
    main()
