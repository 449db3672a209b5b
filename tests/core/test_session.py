from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading

import pytest
from fake_engine import FakeEngine

import shoal
from shoal.core import session
from shoal.exceptions import RaySystemError


def test_init_returns_what_there_is_to_know(engines: list[FakeEngine]) -> None:
    context = shoal.init(num_cpus=2, namespace="ns")
    assert engines[0].options.num_cpus == 2 and engines[0].options.namespace == "ns"
    assert context["node_id"] == "ab" == context.address_info["node_id"] and len(context) == 3
    assert context.ray_version == "2.60.0" and context.python_version.startswith("3.")
    assert "RayContext" in repr(context) and set(context) == {"address", "node_id", "session_dir"}


def test_the_context_ends_the_session_at_the_blocks_end(engines: list[FakeEngine]) -> None:
    with shoal.init():
        assert shoal.is_initialized()
    assert not shoal.is_initialized() and engines[0].is_shut_down


def test_init_twice_is_an_error_unless_it_may_be(engine: FakeEngine, engines: list[FakeEngine]) -> None:
    with pytest.raises(RuntimeError, match=r"Maybe you called init twice by accident\?"):
        shoal.init()
    assert shoal.init(ignore_reinit_error=True).address_info["node_id"] == "ab"
    assert engines == [engine]


def test_shutdown_may_be_called_again_and_again(engine: FakeEngine) -> None:
    shoal.shutdown()
    shoal.shutdown(wait_for_processes=True)
    assert engine.is_shut_down
    with pytest.raises(TypeError, match="wait_for_processes"):
        shoal.shutdown("yes")  # type: ignore[arg-type]


def test_a_failed_start_leaves_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(options: object) -> None:
        raise ConnectionError("nobody there")

    monkeypatch.setattr(session, "_start_engine", refuse)
    with pytest.raises(ConnectionError, match="nobody there"):
        shoal.init(address="host:1")
    assert not shoal.is_initialized()


def test_what_needs_a_session_starts_one(engines: list[FakeEngine]) -> None:
    shoal.put(1)
    assert len(engines) == 1


def test_the_environment_forbids_to_start_one(engines: list[FakeEngine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ENABLE_AUTO_CONNECT", "0")
    with pytest.raises(RaySystemError, match="has not been started yet"):
        shoal.put(1)
    assert engines == []


@pytest.mark.parametrize("ask", [shoal.nodes, shoal.cluster_resources, shoal.available_resources, shoal.timeline])
def test_questions_about_the_cluster_do_not_start_one(engines: list[FakeEngine], ask: object) -> None:
    with pytest.raises(RaySystemError, match="has not been started yet"):
        ask()  # type: ignore[operator]
    assert engines == []


def test_many_threads_start_one_session(engines: list[FakeEngine]) -> None:
    barrier = threading.Barrier(8)

    def use() -> None:
        barrier.wait()
        shoal.put(1)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(engines) == 1


def test_whoever_caches_is_told_of_the_end(engine: FakeEngine) -> None:
    class Cache:
        forgotten = 0

        def forget_engine(self) -> None:
            self.forgotten += 1

    cache = Cache()
    session.forget_at_end(cache)
    session.forget_at_end(Cache())  # gone at once: only weak references are kept
    shoal.shutdown()
    shoal.shutdown()
    assert cache.forgotten == 1


def test_a_worker_adopts_its_engine() -> None:
    worker_engine = FakeEngine()
    session.adopt(worker_engine)
    assert session.current_engine() is worker_engine and shoal.is_initialized()
    assert shoal.init(ignore_reinit_error=True).address_info["node_id"] == "ab"


def _in_a_fork(function: object) -> str:
    """What ``function`` returned in a forked child, or the text of its error."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            try:
                text = str(function())  # type: ignore[operator]
            except BaseException as error:
                text = f"{type(error).__name__}: {error}"
            os.write(write, text.encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


@shoal.remote
def one() -> int:
    return 1


def test_a_forked_child_cannot_use_its_parents_session(engine: FakeEngine) -> None:
    one.remote()
    for use in (lambda: shoal.put(1), lambda: one.remote(), shoal.nodes):
        text = _in_a_fork(use)
        assert text.startswith("RuntimeError: This process (") and f"forked from process {os.getpid()}" in text
    assert _in_a_fork(shoal.is_initialized) == "False"
    assert shoal.get(one.remote()) == 1 and not engine.is_shut_down


def test_a_forked_child_may_start_its_own_session(engine: FakeEngine) -> None:
    def start_and_use() -> int:
        shoal.init()
        return int(shoal.get(one.remote()))

    assert _in_a_fork(start_and_use) == "1"


def test_a_fork_without_a_session_is_like_any_process(engines: list[FakeEngine]) -> None:
    assert _in_a_fork(lambda: shoal.get(shoal.put(3))) == "3"


def test_sigterm_ends_a_driver_as_an_exit_does(engine: FakeEngine) -> None:
    with pytest.raises(SystemExit) as caught:
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 128 + signal.SIGTERM


def test_the_signal_handler_goes_with_the_session(engine: FakeEngine) -> None:
    shoal.shutdown()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_signal_handler_of_the_user_is_kept(engines: list[FakeEngine]) -> None:
    def own(signum: int, frame: object) -> None: ...

    signal.signal(signal.SIGTERM, own)
    try:
        shoal.init()
        assert signal.getsignal(signal.SIGTERM) is own
        shoal.shutdown()
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_logging_is_configured_as_asked(engines: list[FakeEngine], capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("shoal")
    try:
        shoal.init(logging_level="warning", logging_format="<%(message)s>")
        assert logger.level == logging.WARNING
        logger.warning("seen")
        assert "<seen>" in capsys.readouterr().err
    finally:
        logger.handlers = [each for each in logger.handlers if each.get_name() != session.LOG_HANDLER]
        logger.propagate = True
        logger.setLevel(logging.NOTSET)


def test_log_records_name_who_wrote_them() -> None:
    engine = FakeEngine()
    engine.facts = {"job_id": b"\1\2", "task_name": "f", "actor_id": None}
    assert session.log_facts(engine) == {"job_id": "0102", "task_name": "f"}


def test_importing_is_light() -> None:
    code = (
        "import sys, shoal; heavy = {'asyncio', 'numpy', 'pandas', 'concurrent.futures', 'multiprocessing', "
        "'shoal.util', 'shoal.tune', 'shoal.core.native.start', 'msgspec'} & set(sys.modules); print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


def test_libraries_are_found_by_name() -> None:
    assert shoal.cloudpickle.loads(shoal.cloudpickle.dumps(3)) == 3
    assert shoal.util.__name__ == "shoal.util" and shoal.actor.ActorClass
    with pytest.raises(AttributeError, match="has no attribute 'nothing_like_this'"):
        shoal.nothing_like_this


def test_every_exported_name_exists() -> None:
    assert shoal.__version__ == "0.1.0"
    for name in shoal.__all__:
        assert getattr(shoal, name) is not None
