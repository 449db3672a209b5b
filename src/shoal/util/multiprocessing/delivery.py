"""The thread that takes a pool's finished chunks and hands them to whoever waits."""

from __future__ import annotations

import concurrent.futures
import functools
import logging
import queue
import threading
from typing import Any

from shoal.util.multiprocessing.results import ChunkDone

_logger = logging.getLogger(__name__)

_Finished = tuple["concurrent.futures.Future[list[Any]]", ChunkDone]


class Delivery:
    """Runs the callbacks of a pool's chunks in one thread of its own, in the order in which the chunks end.

    Not in the thread that completes a ref: user callbacks run here, and they may submit more work. The thread ends after
    ``stop`` once every chunk was delivered.
    """

    def __init__(self) -> None:
        # None announces a chunk, False asks to stop; a future is a chunk that has ended.
        self._inbox: queue.SimpleQueue[_Finished | None | bool] = queue.SimpleQueue()
        self._thread = threading.Thread(target=_deliver, args=(self._inbox,), name="pool-results", daemon=True)
        self._thread.start()

    def expect(self, ref: Any, done: ChunkDone) -> None:
        """Calls ``done`` with the value of ``ref``, or with its error, when it is there."""
        self._inbox.put(None)
        ref.future().add_done_callback(functools.partial(_post, self._inbox, done))

    def stop(self) -> None:
        self._inbox.put(False)

    def join(self) -> None:
        """Waits until everything was delivered, after ``stop``."""
        if threading.current_thread() is not self._thread:
            self._thread.join()


def _post(inbox: queue.SimpleQueue[Any], done: ChunkDone, future: concurrent.futures.Future[list[Any]]) -> None:
    inbox.put((future, done))


def _deliver(inbox: queue.SimpleQueue[_Finished | None | bool]) -> None:
    expected = 0
    stopping = False
    while not stopping or expected > 0:
        message = inbox.get()
        if message is None:
            expected += 1
        elif isinstance(message, tuple):
            expected -= 1
            _hand_over(*message)
        else:
            stopping = True
        message = None  # while waiting, keep no result alive


def _hand_over(future: concurrent.futures.Future[list[Any]], done: ChunkDone) -> None:
    outcome: list[Any] | BaseException
    try:
        outcome = future.result()
    except (Exception, concurrent.futures.CancelledError) as error:
        outcome = error
    try:
        done(outcome)
    except Exception:
        # As in the standard library, a callback that raises must not stop the results of others.
        _logger.exception("a callback of a Pool raised")
