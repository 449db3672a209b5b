"""Submitters of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from shoal import _kernel
from shoal.core.native import calls
from shoal.core.native.classes import chosen_group
from shoal.core.native.exports import qualified_name
from shoal.core.remote_function import RemoteFunction

if TYPE_CHECKING:
    from collections.abc import Callable

    from shoal._kernel import ObjectRef
    from shoal.core.descriptors import FunctionSpec
    from shoal.core.native.engine import NativeEngine
    from shoal.core.options import TaskOptions
    from shoal.core.signatures import Signature

ANY_NUMBER = -1


def task_submitter(engine: NativeEngine, function: FunctionSpec, options: TaskOptions) -> Callable[..., Any]:
    """The kernel's callable for ``function`` under ``options``."""
    returns = options.returns(function.is_generator)
    group = chosen_group(options.scheduling_strategy, engine.captured_group())
    if group is not None:
        group.check_fits(options.resource_request(), f"the remote function {function.name}")
    call = calls.Call(
        kind=calls.FUNCTION,
        name=_shown_name(function, options),
        code=engine.exports.code(function.function, f"remote function {function.name}"),
        method=f"{function.module}.{function.name}",
        task_name=options.name or function.name,
        returns_dynamic=returns == "dynamic",
        retry_exceptions=retried(options.retried_exceptions),
        max_calls=options.call_limit,
        placement_group=b"" if group is None else group.group_id,
        threads=max(1, int(options.resource_request().get("CPU", 0))),
        pauses=options.backpressure > 0,
        is_told=options.enable_task_events is not False,
    )
    return submitter(
        engine.exports.call(call),
        queue=engine.classes.task_queue(options, engine.captured_group()),
        mailbox=None,
        signature=function.signature,
        name=function.name,
        subject=qualified_name(function.function),
        fallback=RemoteFunction(function, options).remote,
        retries=options.retry_limit,
        retry_exceptions=bool(options.retried_exceptions),
        returns=returns,
        backpressure=options.backpressure,
    )


def submitter(
    call_record: Any,
    *,
    queue: int,
    mailbox: Any,
    signature: Signature,
    name: str,
    subject: str,
    fallback: Callable[..., Any],
    retries: int,
    retry_exceptions: bool,
    returns: Any,
    backpressure: int,
    actor: ObjectRef | None = None,
    gone: Callable[[], Any] | None = None,
) -> Callable[..., Any]:
    """A kernel submitter. Calls that the signature's summary does not settle are checked in Python first.

    Of a mailbox: ``actor`` is kept alive; without it, ``gone`` gives what calls of an actor that is no more return."""
    # A function that must have keywords sends every call through the check: no number of arguments is right by itself.
    least, most = (1, 0) if signature.needs_keywords else (signature.min_positional, signature.max_positional)
    return _kernel.Submitter(
        function=call_record,
        queue=queue,
        mailbox=mailbox,
        check=Check(signature, name, subject),
        fallback=fallback,
        too_many=too_many_pending,
        min_positional=least,
        max_positional=most,
        retries=retries,
        retry_exceptions=retry_exceptions,
        num_returns=returns if isinstance(returns, int) else 1,
        streaming=returns == "streaming",
        backpressure=max(backpressure, 0),
        actor=actor,
        gone=gone,
    )


class Check:
    """Raises TypeError when a call's arguments do not fit. ``subject``: what is called, in full, for messages."""

    __slots__ = ("name", "signature", "subject")

    def __init__(self, signature: Signature, name: str, subject: str) -> None:
        self.signature = signature
        self.name = name
        self.subject = subject

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        self.signature.check(self.name, args, kwargs)


def too_many_pending(limit: int) -> NoReturn:
    """Raises PendingCallsLimitExceeded."""
    from shoal.exceptions import PendingCallsLimitExceeded

    raise PendingCallsLimitExceeded(
        f"This handle has max_pending_calls={limit} calls that have not finished; wait for some of them before calling again."
    )


def retried(retry_exceptions: Any) -> bool | tuple[type[BaseException], ...]:
    return retry_exceptions if isinstance(retry_exceptions, bool) else tuple(retry_exceptions)


def _shown_name(function: FunctionSpec, options: TaskOptions) -> str:
    return options.name or function.name
