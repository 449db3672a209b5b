"""The command line: ``python -m shoal start --head``, ``status``, ``list``, ``stop``.

``start`` leaves a node that outlives the program: drivers join it with ``shoal.init(address="auto")``. Sessions that running
programs have started for themselves are listed, and never ended; those of other users are not looked at.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click
import psutil
from rich.console import Console
from rich.table import Table

import shoal
from shoal.core.birth_marks import PLACEHOLDERS
from shoal.core.labels import check_labels
from shoal.util.state import RayStateApiException, StateApiClient
from shoal.util.state.client import DEFAULT_LIMIT, LIMIT_MAX
from shoal.util.state.rows import ROW_CLASSES

START_LIMIT_S = 20.0
STOP_LIMIT_S = 10.0
SOCKET_NAME = "daemon.sock"
LOG_NAME = "daemon.log"

# What Ray's `start` has for clusters of several machines, or for services that Shoal does not have.
CLUSTER_OPTIONS = (
    "address",
    "autoscaling-config",
    "dashboard-agent-grpc-port",
    "dashboard-agent-listen-port",
    "dashboard-grpc-port",
    "gcs-server-port",
    "metrics-export-port",
    "node-ip-address",
    "node-manager-port",
    "object-manager-port",
    "ray-client-server-port",
    "redis-password",
    "redis-username",
    "runtime-env-agent-port",
    "worker-port-list",
)
# Ports of a cluster, too; 0 says that none is wanted in particular, and a local node opens none.
PORT_OPTIONS = ("port", "min-worker-port", "max-worker-port")
# Programs that want a dashboard for their users' sake still run: they are told that there is none.
DASHBOARD_OPTIONS = {
    "include-dashboard": click.BOOL,
    "dashboard-host": click.STRING,
    "dashboard-port": click.IntRange(0, 65535),
}


@dataclass(frozen=True)
class Session:
    """A session folder of this user, and the process of its daemon when it stands alone."""

    folder: Path
    daemon: psutil.Process | None

    @property
    def state(self) -> str:
        if self.daemon is not None:
            return "stands alone"
        return "of a running program" if (self.folder / SOCKET_NAME).exists() else "ended"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(shoal.__version__, prog_name="shoal")
def main() -> None:
    """Shoal: tasks, actors and shared objects for Python."""


def _refuse_cluster_option(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise click.UsageError(
            f"{parameter.opts[0]} belongs to clusters of several machines, which are not supported: got {value}"
        )


def _refuse_port(context: click.Context, parameter: click.Parameter, value: int | None) -> None:
    if value:
        raise click.UsageError(
            f"{parameter.opts[0]} must be 0: a local node opens no port, but got {parameter.opts[0]}={value}"
        )


def _warn_of_dashboard(context: click.Context, parameter: click.Parameter, value: object) -> None:
    if value:
        click.echo(f"Shoal has no dashboard, so {parameter.opts[0]}={value} starts none: see 'python -m shoal list'.", err=True)


def _json_object(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        found = json.loads(value)
    except json.JSONDecodeError as error:
        raise click.UsageError(f"{parameter.opts[0]} must be a JSON object, but got {value!r}: {error}") from None
    if not isinstance(found, dict):
        raise click.UsageError(f"{parameter.opts[0]} must be a JSON object, but got {value!r}")
    return json.dumps(found)


def _labels(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is None or value == "{}":
        return None
    value = value.strip("\"'")  # where no shell has taken them off
    pairs = [pair.partition("=") for pair in value.split(",") if pair]
    wrong = [key + sign + text for key, sign, text in pairs if not key or not sign]
    if wrong:
        raise click.UsageError(
            f"Label string is not a key-value pair. --labels takes pairs like zone=a,rack=7, but got {wrong[0]!r} in {value!r}"
        )
    return _checked_labels({key.strip(): text.strip() for key, _, text in pairs})


def _labels_of_file(context: click.Context, parameter: click.Parameter, path: Path | None) -> dict[str, str]:
    """Lines ``key: value``, as in a YAML mapping of strings; quotes and comments may be there."""
    found: dict[str, str] = {}
    for line in path.read_text().splitlines() if path is not None else ():
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        key, colon, value = text.partition(": ")
        if not colon:
            raise click.UsageError(f"--labels-file must have lines like 'zone: a', but got {line!r} in {path}")
        found[key.strip().strip("\"'")] = value.strip().strip("\"'")
    _checked_labels(found)
    return found


def _checked_labels(labels: dict[str, str]) -> str:
    try:
        return json.dumps(check_labels(labels))
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from None


def _filters(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, str, str]]:
    found = []
    for text in values:
        name, sign, value = text.partition("=")
        if not sign or not name.rstrip("!"):
            raise click.UsageError(f"--filter must be COLUMN=VALUE or COLUMN!=VALUE, but got {text!r}")
        found.append((name.removesuffix("!"), "!=" if name.endswith("!") else "=", value))
    return found


def _with_refused_options(command: Any) -> Any:
    for name in reversed(CLUSTER_OPTIONS):
        command = click.option(f"--{name}", hidden=True, expose_value=False, callback=_refuse_cluster_option)(command)
    for name, kind in DASHBOARD_OPTIONS.items():
        command = click.option(f"--{name}", type=kind, hidden=True, expose_value=False, callback=_warn_of_dashboard)(command)
    for name in reversed(PORT_OPTIONS):
        command = click.option(f"--{name}", type=int, hidden=True, expose_value=False, callback=_refuse_port)(command)
    return command


@main.command()
@click.option("--head", is_flag=True, help="Start a node that stands alone (required: there are no clusters to join).")
@click.option("--num-cpus", type=click.FloatRange(min=0), help="CPUs it has; the machine's when not given.")
@click.option("--num-gpus", type=click.FloatRange(min=0), help="GPUs it has; the machine's when not given.")
@click.option(
    "--memory", type=click.IntRange(min=0), help="Bytes of memory that tasks can reserve; what is left when not given."
)
@click.option("--object-store-memory", type=click.IntRange(min=0), help="Bytes for objects in memory.")
@click.option("--resources", callback=_json_object, help="Other resources, as a JSON object: '{\"licence\": 1}'.")
@click.option("--labels", callback=_labels, help="Labels of the node: zone=a,rack=7.")
@click.option(
    "--labels-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=_labels_of_file,
    help="A file of labels, a line 'zone: a' for each; --labels comes before it.",
)
@click.option(
    "--object-spilling-directory",
    multiple=True,
    type=click.Path(file_okay=False, resolve_path=True),
    help="Where objects go that memory has no room for; given several times, the folders share them.",
)
@click.option("--temp-dir", type=click.Path(file_okay=False, path_type=Path), help="Where the folder of its session goes.")
@click.option("--block", is_flag=True, help="Stay until the node ends.")
@_with_refused_options
def start(head: bool, block: bool, temp_dir: Path | None, labels_file: dict[str, str], **size: Any) -> None:
    """Start a node that outlives this command, and say how to join it."""
    if not head:
        raise click.UsageError("start needs --head: joining a cluster is not supported")
    if labels_file:
        size["labels"] = json.dumps({**labels_file, **json.loads(size["labels"] or "{}")})
    root = session_root(temp_dir)
    running = [session for session in sessions(root) if session.daemon is not None]
    if running:
        raise click.ClickException(
            f"a node runs already (pid {running[0].daemon.pid if running[0].daemon else 0}); stop it first"
        )
    folder = _new_session_folder(root)
    daemon = _start_daemon(folder, size)
    _wait_until_ready(folder, daemon)
    click.echo(f"A local node runs (pid {daemon.pid}).")
    click.echo("Programs join it with shoal.init(address='auto'), or by its own address:")
    click.echo(f"  --address='{folder}'")
    click.echo("It ends with: python -m shoal stop")
    if block:
        sys.exit(daemon.wait())


@main.command()
@_with_refused_options
def status() -> None:
    """List the sessions of this user, with the resources of the node that stands alone."""
    found = sessions(session_root(None))
    if not found:
        click.echo("No session is running.")
        return
    table = Table("session", "state", "pid")
    for session in found:
        table.add_row(session.folder.name, session.state, str(session.daemon.pid) if session.daemon else "")
    console = Console()
    console.print(table)
    for session in found:
        if session.daemon is not None:
            console.print(_resources_table(session))


@main.command()
@click.option("-f", "--force", is_flag=True, help="Kill at once instead of asking to end.")
@_with_refused_options
def stop(force: bool) -> None:
    """End the nodes of this user that stand alone, with everything that runs in them."""
    standing = {session.folder: session.daemon for session in sessions(session_root(None)) if session.daemon is not None}
    daemons = list(standing.values())
    for daemon in daemons:
        (daemon.kill if force else daemon.terminate)()
    _, alive = psutil.wait_procs(daemons, timeout=STOP_LIMIT_S)
    for daemon in alive:
        daemon.kill()
    psutil.wait_procs(alive, timeout=STOP_LIMIT_S)
    for folder, daemon in standing.items():
        if not daemon.is_running():  # one that was killed, or had hardly started, has left its folder
            shutil.rmtree(folder, ignore_errors=True)
    click.echo(f"Stopped {len(daemons)} node{'' if len(daemons) == 1 else 's'}." if daemons else "No node was running.")


@main.command("list")
@click.argument("resource", type=click.Choice(sorted(ROW_CLASSES)))
@click.option("--address", default="auto", help="Of the session; by default the node of this user that stands alone.")
@click.option(
    "--filter", "filters", multiple=True, callback=_filters, help="A column and its value: state=ALIVE or state!=DEAD."
)
@click.option("--limit", type=click.IntRange(1, LIMIT_MAX), default=DEFAULT_LIMIT, show_default=True, help="Rows at most.")
@click.option("--detail", is_flag=True, help="All columns.")
@click.option("--format", "shown_as", type=click.Choice(["table", "json"]), default="table", show_default=True)
def list_state(
    resource: str, address: str, filters: list[tuple[str, str, str]], limit: int, detail: bool, shown_as: str
) -> None:
    """List what a node has: its jobs, tasks, actors, objects, workers, runtime environments, notable events, ..."""
    try:
        with shoal.init(address=address, log_to_driver=False):
            own = shoal.get_runtime_context().get_job_id()
            found = StateApiClient().list(resource, filters, limit, detail=detail)
    except (ConnectionError, RayStateApiException) as error:
        _fail(str(error))
    rows = [row.asdict() for row in found if resource != "jobs" or row["job_id"] != own]  # this command is none of them
    if shown_as == "json":
        click.echo(json.dumps(rows, indent=2))
        return
    columns = ROW_CLASSES[resource].columns(detail)
    table = Table(*columns)
    for row in rows:
        table.add_row(*("" if row[name] is None else str(row[name]) for name in columns))
    Console().print(table)


def session_root(base: Path | None) -> Path:
    """The folder that holds this user's sessions: below ``base``, or ``RAY_TMPDIR``, or the system's temporary folder."""
    chosen = base or Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    return chosen.absolute() / f"shoal-{os.getuid()}"


def sessions(root: Path) -> list[Session]:
    """The sessions below ``root``, oldest first."""
    if not root.is_dir():
        return []
    daemons = _standalone_daemons()
    return [Session(folder, daemons.get(folder)) for folder in sorted(root.glob("session_*")) if folder.is_dir()]


def _standalone_daemons() -> dict[Path, psutil.Process]:
    found: dict[Path, psutil.Process] = {}
    for process in psutil.process_iter(["cmdline", "uids", "ppid"]):
        command = process.info["cmdline"] or []
        if not process.info["uids"] or process.info["uids"].real != os.getuid() or "--session-folder" not in command:
            continue
        # Its zygote is a fork of it, with the same command line: the parent is the daemon.
        folder = Path(command[command.index("--session-folder") + 1])
        parent = found.get(folder)
        if parent is None or process.pid == parent.info["ppid"]:
            found[folder] = process
    return found


def _new_session_folder(root: Path) -> Path:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    information = root.lstat()
    if information.st_uid != os.getuid() or information.st_mode & 0o077:
        raise click.ClickException(f"{root} must belong to user {os.getuid()} alone (mode 0700)")
    folder = root / f"session_{time.strftime('%Y-%m-%d_%H-%M-%S')}_{os.getpid()}"
    folder.mkdir(mode=0o700)
    return folder


def _start_daemon(folder: Path, size: dict[str, Any]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "shoal.node", "--session-folder", str(folder)]
    for name, value in size.items():
        for each in value if isinstance(value, tuple) else (value,):
            command += [f"--{name.replace('_', '-')}", str(each)] if each is not None else []
    with open(folder / LOG_NAME, "wb") as log:
        # A session of its own: the node outlives this terminal.
        environment = {**os.environ, **PLACEHOLDERS}
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/", env=environment
        )


def _wait_until_ready(folder: Path, daemon: subprocess.Popen[bytes]) -> None:
    log = folder / LOG_NAME
    deadline = time.monotonic() + START_LIMIT_S
    while not (folder / SOCKET_NAME).exists():
        if daemon.poll() is not None:
            _fail(f"the node ended at once (exit status {daemon.returncode}):\n{log.read_text(errors='replace')[-2000:]}")
        if time.monotonic() > deadline:
            daemon.kill()
            _fail(f"the node did not come up within {START_LIMIT_S:g} s:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.02)


def _resources_table(session: Session) -> Table:
    table = Table("resource", "total", "free", title=session.folder.name, title_justify="left")
    with shoal.init(address=str(session.folder), log_to_driver=False):
        total, free = shoal.cluster_resources(), shoal.available_resources()
    for name in sorted(total):
        table.add_row(name, f"{total[name]:g}", f"{free.get(name, 0.0):g}")
    return table


def _fail(message: str) -> NoReturn:
    raise click.ClickException(message)
