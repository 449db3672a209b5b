"""The one session of this process: starting it, finding its engine, ending it, and what a fork does to it.

Whoever caches something of an engine (a submitter in a remote function) registers it here and is told when the session ends.
Every ``import shoal`` loads this module, so it loads little itself.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import weakref
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from shoal.core.engine import Engine
    from shoal.core.init_options import InitOptions
    from shoal.core.session_context import RayContext
    from shoal.exceptions import RaySystemError

OPEN_FILES_WANTED = 65536
AUTO_INIT_VARIABLE = "RAY_ENABLE_AUTO_CONNECT"
LOG_HANDLER = "shoal-driver"
LOG_FACTS = ("job_id", "worker_id", "node_id", "actor_id", "task_id", "task_name", "task_function_name", "actor_name")


class Cached(Protocol):
    """Something that keeps a part of the running engine."""

    def forget_engine(self) -> None: ...


class Session:
    """One engine and what was asked for when it was started. Compared by identity: handles remember theirs."""

    def __init__(self, engine: Engine | Callable[[], Engine], options: InitOptions | None, context: RayContext | None) -> None:
        self._engine = engine
        self.options = options
        self.context = context

    @property
    def engine(self) -> Engine:
        """Made now, when it was adopted as a function that makes it."""
        made = self._engine
        if callable(made):
            made = made()  # without the lock: it imports, and whoever imports may be asking, too
            with _lock:
                if callable(self._engine):
                    self._engine = made
                made = self._engine
        return made


_lock = threading.RLock()
_session: Session | None = None
_forked_from: int | None = None
_caches: weakref.WeakSet[Any] = weakref.WeakSet()
_end_callbacks: list[Callable[[], None]] = []
_handles_sigterm = False


def init(address: str | None = None, **keywords: Any) -> RayContext:
    """Starts a private session, or joins the one at ``address``. See API reference for the arguments.

    Raises RuntimeError when there is a session already (unless ``ignore_reinit_error``) and for keywords it does not know,
    ValueError and TypeError for bad values, ConnectionError when there is nothing at ``address``.
    """
    global _session, _forked_from
    from shoal.core.init_options import InitOptions

    options = InitOptions.from_keywords(address=address, **keywords)
    with _lock:
        if _session is not None:
            return _existing_context(_session, options)
        _raise_open_file_limit()
        engine = _start_engine(options)
        _forked_from = None
        context = _context_of(engine)
        _session = Session(engine, options, context)
        _install_signal_handler()
        _configure_logging(options, engine)
        _logger().debug("session started: %s", context.address_info)
        return context


def shutdown(wait_for_processes: bool = False) -> None:
    """Ends the session; references, handles and pending work of it are gone. Does nothing when there is none.

    The processes this session started are always waited for, so ``wait_for_processes`` changes nothing but is checked."""
    global _session
    if not isinstance(wait_for_processes, bool):
        raise TypeError(f"wait_for_processes must be a bool, but got wait_for_processes={wait_for_processes!r}")
    with _lock:
        ending, _session = _session, None
        if ending is None:
            return
        _forget_everything()
        _restore_signal_handler()
        ending.engine.shutdown()


def is_initialized() -> bool:
    """Whether this process has a session."""
    return _session is not None


def current_engine() -> Engine:
    """The engine of this process. Starts a session when there is none (``RAY_ENABLE_AUTO_CONNECT=0`` forbids that)."""
    session = _session
    if session is not None:
        return session.engine
    _check_not_forked()
    if os.environ.get(AUTO_INIT_VARIABLE) == "0":
        raise _no_session()
    with _lock:
        if _session is None:
            init()
    return require_engine()


def require_engine() -> Engine:
    """The engine of this process. Raises RaySystemError when there is no session, RuntimeError in a forked child."""
    session = _session
    if session is None:
        _check_not_forked()
        raise _no_session()
    return session.engine


def current_session() -> Session | None:
    return _session


def adopt(engine: Engine | Callable[[], Engine]) -> Session:
    """Makes ``engine`` this process's engine: what a worker does after it has started. A function that makes one is called
    when the engine is first asked for something; by several threads at once perhaps, and then one result is kept."""
    global _session, _forked_from
    with _lock:
        _forget_everything()
        _session = Session(engine, None, None)
        _forked_from = None
        return _session


def forget_at_end(cached: Cached) -> None:
    """``cached.forget_engine()`` is called when the session ends. Only a weak reference is kept."""
    _caches.add(cached)


def at_session_end(callback: Callable[[], None]) -> None:
    """Calls ``callback`` whenever a session of this process ends, and in a forked child."""
    _end_callbacks.append(callback)


def _start_engine(options: InitOptions) -> Engine:
    # The engines are big, and reading the API must not load them.
    if options.inline:
        from shoal.core.inline.start import start as start_inline

        return cast("Engine", start_inline(options))
    from shoal.core.native.start import start

    return cast("Engine", start(options))


def _existing_context(session: Session, options: InitOptions) -> RayContext:
    if not options.ignore_reinit_error:
        raise RuntimeError(
            "Maybe you called init twice by accident? This error can be suppressed by passing in "
            "'ignore_reinit_error=True' or by calling 'shutdown()' prior to 'init()'."
        )
    _logger().info("init() was called again and is ignored: this process has a session already")
    if session.context is None:
        session.context = _context_of(session.engine)
    return session.context


def _context_of(engine: Engine) -> RayContext:
    from shoal.core.session_context import RayContext

    return RayContext(dict(engine.request("address_info")), disconnect=shutdown)


def _no_session() -> RaySystemError:
    from shoal.exceptions import RaySystemError

    return RaySystemError("Shoal has not been started yet. You can start it with 'shoal.init()'.")


def _check_not_forked() -> None:
    if _forked_from is not None:
        raise RuntimeError(
            f"This process ({os.getpid()}) was forked from process {_forked_from}, which has a Shoal session. "
            "A fork can't use its parent's session: call shoal.init() here for a session of its own, "
            "or use the 'spawn' start method of multiprocessing."
        )


def _forget_everything() -> None:
    for cached in list(_caches):
        cached.forget_engine()
    _caches.clear()
    for callback in _end_callbacks:
        callback()


def _after_fork_in_child() -> None:
    global _session, _forked_from, _lock, _handles_sigterm
    if _session is None:
        return
    _lock = threading.RLock()
    _forked_from = os.getppid()
    _session = None
    _forget_everything()
    if _handles_sigterm:
        _handles_sigterm = False
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise_open_file_limit() -> None:
    import resource  # not on every system, and needed once

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_WANTED if hard == resource.RLIM_INFINITY else min(OPEN_FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _configure_logging(options: InitOptions, engine: Engine) -> None:
    """The level and format of the "shoal" logger; with a LoggingConfig, the root logger's."""
    import logging

    if options.configure_logging:
        logger = _logger()
        logger.setLevel(options.logging_level.upper() if isinstance(options.logging_level, str) else options.logging_level)
        if options.logging_format is not None:
            for handler in [each for each in logger.handlers if each.get_name() == LOG_HANDLER]:
                logger.removeHandler(handler)
            handler = logging.StreamHandler()
            handler.set_name(LOG_HANDLER)
            handler.setFormatter(logging.Formatter(options.logging_format))
            logger.addHandler(handler)
            logger.propagate = False
    if options.logging_config is not None:
        options.logging_config.apply(lambda: log_facts(engine))


def _logger() -> logging.Logger:
    import logging  # 6 ms, which a driver spends while its node starts

    return logging.getLogger("shoal")


def log_facts(engine: Engine) -> dict[str, str]:
    """What a log record says about the code that wrote it."""
    facts = engine.runtime_context()
    found = {name: facts.get(name) for name in LOG_FACTS}
    return {name: value.hex() if isinstance(value, bytes) else str(value) for name, value in found.items() if value}


def _install_signal_handler() -> None:
    """SIGTERM ends a driver as an exit does, so that nothing of its session is left. A handler of the user's is kept."""
    global _handles_sigterm
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _exit_on_sigterm)
        _handles_sigterm = True


def _restore_signal_handler() -> None:
    global _handles_sigterm
    if _handles_sigterm and threading.current_thread() is threading.main_thread():
        if signal.getsignal(signal.SIGTERM) is _exit_on_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _handles_sigterm = False


def _exit_on_sigterm(signum: int, frame: Any) -> None:
    raise SystemExit(128 + signum)


atexit.register(shutdown)
os.register_at_fork(after_in_child=_after_fork_in_child)
