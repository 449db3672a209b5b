"""Everything Shoal raises. All of it derives from ``RayError`` (also called ``ShoalError``) and survives pickling.

An error a task raised reaches the caller as a class that is both ``RayTaskError`` and the user's own class, so that either can
be caught; its text is the remote traceback.
"""

from __future__ import annotations

import logging
import os
import pickle
import traceback
import types
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

LOCAL_ADDRESS = "127.0.0.1"
_PACKAGE_FOLDER = os.path.dirname(os.path.realpath(__file__)) + os.sep
# What ends a program or a coroutine must not be raised in the caller as if it were the caller's own.
_ENDING = (SystemExit, KeyboardInterrupt, GeneratorExit)
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: set for classes made by a class statement
_DEPENDENCY_NOTE = "  At least one of the input arguments for this task could not be computed:"


class RayError(Exception):
    """The base of all of Shoal's exceptions."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Constructors differ between the classes; the state is all that counts.
        return _restore_error, (type(self), self.args, self.__dict__.copy())


ShoalError = RayError


# ---------------------------------------------------------------- errors of user code


class RayTaskError(RayError):
    """A task raised. ``cause`` is what it raised, ``traceback_str`` where; ``str()`` is the remote traceback.

    ``as_instanceof_cause()`` gives what ``get`` raises.
    """

    def __init__(
        self,
        function_name: str,
        traceback_str: str,
        cause: BaseException,
        proctitle: str | None = None,
        pid: int | None = None,
        ip: str | None = None,
        actor_repr: str | None = None,
        actor_id: str | None = None,
    ) -> None:
        self.function_name = function_name
        self.traceback_str = traceback_str
        self.cause = cause
        self.proctitle = proctitle or f"ray::{function_name}"
        self.pid = pid or os.getpid()
        self.ip = ip or LOCAL_ADDRESS
        self.actor_repr = actor_repr
        self._actor_id = actor_id
        self.args = (function_name, traceback_str, cause, proctitle, pid, ip)

    @classmethod
    def from_exception(
        cls,
        function_name: str,
        error: BaseException,
        *,
        ip: str | None = None,
        actor_repr: str | None = None,
        actor_id: str | None = None,
    ) -> RayTaskError:
        """What a worker makes of ``error``, raised by user code.

        When a task failed because one of its arguments had failed, the innermost user error stays the cause. A cause that
        cannot be pickled is replaced by a ``RayError`` that carries its text."""
        text = format_user_traceback(error)
        cause = error
        if isinstance(error, RayTaskError):
            text = _chained_text(error)
            cause = error.cause
        failure = pickling_failure(cause)
        if failure is not None:
            name = f"{type(cause).__module__}.{type(cause).__qualname__}"
            cause = RayError(f"Exception {name} isn't serializable: {failure}.\nOriginal exception details:\n{text}")
        return cls(function_name, text, cause, ip=ip, actor_repr=actor_repr, actor_id=actor_id)

    def as_instanceof_cause(self) -> RayTaskError:
        """An error that is an instance of ``RayTaskError`` and of the cause's class, with the cause's attributes.

        Falls back to this plain error when the class can't be a base (final, or with a layout or constructor of its own), or
        is no ``Exception``."""
        cause_class = type(self.cause)
        if issubclass(RayTaskError, cause_class) or issubclass(cause_class, _ENDING):
            return self
        try:
            return self.make_dual_exception_instance()
        except Exception as failure:
            logger.warning(
                "User exception type %s can't be combined with RayTaskError. This exception is raised as RayTaskError only. "
                "You can use `ray_task_error.cause` to access the user exception. Failure in subclassing: %s",
                cause_class,
                failure,
            )
            return self

    def make_dual_exception_instance(self) -> RayTaskError:
        """The instance ``as_instanceof_cause`` returns. Raises whatever making the class or the instance raised."""
        return _dual_class(type(self.cause))(self)

    def __str__(self) -> str:
        lines = self.traceback_str.strip("\n").split("\n")
        if lines[0].startswith("Traceback "):
            lines = lines[1:]
        actor = f", actor_id={self._actor_id}, repr={self.actor_repr}" if self.actor_repr else ""
        return "\n".join([f"{self.proctitle}() (pid={self.pid}, ip={self.ip}{actor})", *lines])

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: value for name, value in self.__dict__.items() if name not in ("cause", "_dual_text", "_dual_args")}
        return _restore_task_error, (state, _dump(self.cause), self.traceback_str)


class UserCodeException(RayError):
    """Wraps an error of a user's function that a library called; ``retry_exceptions`` looks at its ``__cause__``."""


class UnserializableException(RayError):
    """An exception arrived that can't be unpickled here; this carries its text and traceback."""

    def __init__(self, original_stack_trace: str) -> None:
        super().__init__(original_stack_trace)
        self._original_stack_trace = original_stack_trace

    def __str__(self) -> str:
        return f"Failed to deserialize exception.\nOriginal exception:\n{self._original_stack_trace}"


class CrossLanguageError(RayError):
    """An error raised by code in another language."""


class TaskCancelledError(RayError):
    """The task was cancelled, or raised KeyboardInterrupt itself."""

    def __init__(self, task_id: Any = None, error_message: str | None = None) -> None:
        super().__init__(task_id, error_message)
        self.task_id = task_id
        self.error_message = error_message

    def __str__(self) -> str:
        parts = [f"Task: {self.task_id} was cancelled." if self.task_id else "This task or its dependency was cancelled."]
        return " ".join([*parts, self.error_message] if self.error_message else parts)


# ---------------------------------------------------------------- errors of processes and nodes


class _MessageError(RayError):
    """An error whose text is its message, with a default that says what it means."""

    default_message = ""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.default_message)
        self.message = message or self.default_message

    def __str__(self) -> str:
        return self.message


class WorkerCrashedError(_MessageError):
    """The worker died while it ran the task. The message says how: signal or exit code, peak memory, last log lines."""

    default_message = "The worker died unexpectedly while executing this task."


class LocalRayletDiedError(_MessageError):
    """This machine's node daemon is gone."""

    default_message = "The node daemon of this machine has died."


class NodeDiedError(_MessageError):
    """The node that ran the task is gone."""

    default_message = "The node is dead or unreachable."


class OutOfMemoryError(_MessageError):
    """The memory guard ended the task and it had no retries left."""

    default_message = "The task was ended because its node was running out of memory."


class RayActorError(RayError):
    """A call to an actor failed because of the actor: see ``ActorDiedError`` and ``ActorUnavailableError``."""

    BASE_ERROR_MSG = "The actor experienced an error before finishing this task."

    def __init__(
        self,
        actor_id: str | None = None,
        error_msg: str | None = None,
        actor_init_failed: bool = False,
        preempted: bool = False,
    ) -> None:
        message = error_msg or self.BASE_ERROR_MSG
        super().__init__(message)
        self.actor_id = actor_id
        self.error_msg = message
        self._actor_init_failed = actor_init_failed
        self._preempted = preempted

    @property
    def actor_init_failed(self) -> bool:
        """Whether the actor's constructor raised."""
        return self._actor_init_failed

    @property
    def preempted(self) -> bool:
        """Whether the actor's node was taken away."""
        return self._preempted

    def __str__(self) -> str:
        return self.error_msg


class ActorDiedError(RayActorError):
    """The actor is dead for good.

    Made of the constructor's ``RayTaskError``, or of a message; ``facts`` (class_name, actor_id, pid, name, namespace, ...) are
    listed before the message."""

    BASE_ERROR_MSG = "The actor died unexpectedly before finishing this task."

    def __init__(
        self,
        cause: RayTaskError | str | None = None,
        *,
        actor_id: str | None = None,
        facts: dict[str, Any] | None = None,
        preempted: bool = False,
    ) -> None:
        init_failed = isinstance(cause, RayTaskError)
        if isinstance(cause, RayTaskError):
            message = f"The actor died because of an error raised in its creation task, {cause}"
            actor_id = actor_id or cause._actor_id
        else:
            given = {**({"actor_id": actor_id} if actor_id else {}), **(facts or {})}
            lines = [f"\t{name}: {value}" for name, value in given.items() if value not in (None, "")]
            message = "\n".join([self.BASE_ERROR_MSG, *lines, *([cause] if cause else [])])
        super().__init__(actor_id, message, init_failed, preempted)
        if isinstance(cause, RayTaskError):
            self.__cause__ = cause

    @classmethod
    def from_task_error(cls, task_error: RayTaskError) -> ActorDiedError:
        return cls(task_error)


class ActorUnavailableError(RayActorError):
    """The actor can't be reached now but may be later. The call may or may not have run."""

    def __init__(self, error_message: str, actor_id: bytes | str | None = None) -> None:
        hex_id = actor_id.hex() if isinstance(actor_id, bytes) else actor_id
        message = (
            f"The actor {hex_id} is unavailable: {error_message}. The task may or may not have been executed on the actor."
        )
        super().__init__(hex_id, message)


class ActorAlreadyExistsError(ValueError, RayError):
    """The name is taken by a live actor. Also a ValueError."""

    def __init__(self, error_message: str) -> None:
        super().__init__(error_message)
        self.error_message = error_message


class ActorHandleNotFoundError(ValueError, RayError):
    """The handle belongs to an earlier session. Also a ValueError."""

    def __init__(self, error_message: str) -> None:
        super().__init__(error_message)
        self.error_message = error_message


class AsyncioActorExit(RayError):
    """An async actor asked to exit."""


class PendingCallsLimitExceeded(RayError):
    """The handle has as many pending calls as its ``max_pending_calls`` allows."""


class TaskUnschedulableError(_MessageError):
    """The task can never be placed; the message says what is missing."""

    def __str__(self) -> str:
        return f"The task is not schedulable: {self.message}"


class DeadlockError(RayError):
    """A wait that can never end, since what it waits for waits for it; the message names who waits for whom."""


class ActorUnschedulableError(_MessageError):
    """The actor can never be placed; the message says what is missing."""

    def __str__(self) -> str:
        return f"The actor is not schedulable: {self.message}"


class TaskPlacementGroupRemoved(_MessageError):
    """The placement group of the task was removed."""

    default_message = "The placement group corresponding to this task has been removed."


class ActorPlacementGroupRemoved(_MessageError):
    """The placement group of the actor was removed."""

    default_message = "The placement group corresponding to this Actor has been removed."


class RuntimeEnvSetupError(RayError):
    """The runtime environment could not be set up."""

    def __init__(self, error_message: str | None = None) -> None:
        super().__init__(error_message)
        self.error_message = error_message

    def __str__(self) -> str:
        return "\n".join(["Failed to set up runtime environment.", *([self.error_message] if self.error_message else [])])


# ---------------------------------------------------------------- errors of objects


class ObjectLostError(RayError):
    """The object's value is gone."""

    explanation = "All copies of the object have been lost due to node failure."

    def __init__(
        self, object_ref_hex: str, owner_address: bytes | None = None, call_site: str = "", message: str | None = None
    ) -> None:
        super().__init__(object_ref_hex, owner_address, call_site)
        self.object_ref_hex = object_ref_hex
        self.owner_address = owner_address
        self.call_site = call_site
        self.message = message or self.explanation

    def __str__(self) -> str:
        origin = f" The ObjectRef was created at: {self.call_site}" if self.call_site else ""
        return f"Failed to retrieve object {self.object_ref_hex}.{origin}\n\n{self.message}"


class ObjectFetchTimedOutError(ObjectLostError):
    """No node gave the value in time."""

    explanation = "Fetching the object timed out because no location was found for it."


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """The object was deleted while a reference to it was left."""

    explanation = "The object has already been deleted while a reference to it was still held. This should not happen."


class ObjectFreedError(ObjectLostError):
    """The application freed the object itself."""

    explanation = "The object was manually freed by the application. Free an object only when nobody needs it any longer."


class OwnerDiedError(ObjectLostError):
    """The process that made the reference has ended, and the value with it."""

    explanation = "The object's owner has exited: the process that first created the ObjectRef via `.remote()` or `put()`."


class ObjectReconstructionFailedError(ObjectLostError):
    """The lost value can't be computed again; ``reason`` is a key of ``REASON_MESSAGES``."""

    REASON_MESSAGES: ClassVar[dict[str, str]] = {
        "MAX_ATTEMPTS_EXCEEDED": "the maximum number of task retries has been exceeded; raise max_retries",
        "LINEAGE_EVICTED": "its lineage was not kept: it may take a sixteenth of the object store; raise object_store_memory "
        "or RAY_max_lineage_bytes",
        "PUT": "it was created by put(), which has no task to run again; return the value from a task instead",
        "RETRIES_DISABLED": "its task was created with max_retries=0 (of an actor: max_task_retries=0)",
        "BORROWED": "this process only borrowed it, and its owner could not compute it again",
        "REF_NOT_FOUND": "its reference is not known to its owner",
        "TASK_CANCELLED": "the task that would produce it was cancelled",
        "LINEAGE_DISABLED": "reconstruction is switched off",
        "GENERATOR_ITEM": "it was yielded by a generator, which is not run again for one item",
        "ACTOR_GONE": "the actor that made it, or that it needs, has ended",
        "OWNER_DIED": "the job that had submitted its task has ended",
        "NO_ROOM": "the object store has no room for the arguments of its task",
    }

    def __init__(
        self,
        object_ref_hex: str,
        reason: str | None = None,
        reason_message: str | None = None,
        owner_address: bytes | None = None,
        call_site: str = "",
    ) -> None:
        because = reason_message or self.REASON_MESSAGES.get(reason or "", "the reason is not known")
        message = f"[{reason or 'UNKNOWN'}] The object cannot be reconstructed because {because}."
        super().__init__(object_ref_hex, owner_address, call_site, message)
        self.reason = reason
        self.reason_message = because


class ObjectStoreFullError(RayError):
    """The value has no room even after spilling; the message says who holds what."""


class OutOfDiskError(RayError):
    """The value has no room in memory, and the disk is full too."""


class PlasmaObjectNotAvailable(RayError):
    """The value was not there within the time given. Internal."""


class GetTimeoutError(RayError, TimeoutError):
    """``get`` ran out of time. Also a TimeoutError."""


class ObjectRefStreamEndOfStreamError(RayError):
    """The stream has no further item."""


class OufOfBandObjectRefSerializationException(RayError):
    """A reference was pickled outside of tasks and objects while that is forbidden."""


# ---------------------------------------------------------------- errors of the system


class RaySystemError(RayError):
    """Something outside the user's code failed."""

    def __init__(self, client_exc: Any, traceback_str: str | None = None) -> None:
        super().__init__(client_exc, traceback_str)
        self.client_exc = client_exc
        self.traceback_str = traceback_str

    def __str__(self) -> str:
        text = f"System error: {self.client_exc}"
        return f"{text}\ntraceback: {self.traceback_str}" if self.traceback_str else text


class StreamingGeneratorReplayInconsistentError(RaySystemError):
    """A generator task that ran again yielded a different number of items."""


class RayChannelError(RaySystemError):
    """A channel of a compiled graph failed."""


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """A channel of a compiled graph timed out. Also a TimeoutError."""


class RayCgraphCapacityExceeded(RaySystemError):
    """A compiled graph has as many executions or results open as it may."""


class RayDirectTransportError(RaySystemError):
    """A direct transfer of tensors failed."""


class RpcError(RayError):
    """A remote call between daemons failed."""

    def __init__(self, message: str, rpc_code: int | None = None) -> None:
        super().__init__(message, rpc_code)
        self.message = message
        self.rpc_code = rpc_code

    def __str__(self) -> str:
        return self.message


class AuthenticationError(_MessageError):
    """The token is missing or wrong."""

    default_message = "The cluster's token is missing or wrong."
    documentation = "https://docs.ray.io/en/latest/ray-security/token-auth.html"

    def __str__(self) -> str:
        return f"{super().__str__()}. Tokens are explained at {self.documentation}"


def _is_error_class(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, RayError) and not value.__name__.startswith("_")


RAY_EXCEPTION_TYPES: list[type[RayError]] = [value for name, value in list(globals().items()) if _is_error_class(value)]
RAY_EXCEPTION_TYPES = list(dict.fromkeys(RAY_EXCEPTION_TYPES))


# ---------------------------------------------------------------- pickling and formatting


def use_pickler(dumps: Callable[[Any], bytes]) -> None:
    """Pickles causes with ``dumps`` from now on: one that knows the serializers users registered."""
    global _dumps
    _dumps = dumps


def pickling_failure(value: object) -> str | None:
    """Why ``value`` can't be pickled; None when it can."""
    try:
        _pickle(value)
    except Exception as failure:  # a __reduce__ of the user's may raise anything
        return f"{type(failure).__name__}: {failure}"
    return None


def format_user_traceback(error: BaseException) -> str:
    """The traceback of ``error`` without the frames of this package, in Python's own form."""
    formatted = traceback.TracebackException.from_exception(error)
    pending: list[traceback.TracebackException | None] = [formatted]
    while pending:
        part = pending.pop()
        if part is not None:
            part.stack[:] = [frame for frame in part.stack if not frame.filename.startswith(_PACKAGE_FOLDER)]
            pending += [part.__cause__, part.__context__]
    return "".join(formatted.format())


def _chained_text(error: RayTaskError) -> str:
    """The traceback of a task that failed because of another: its own lines, if it had come so far, and then the other's
    text."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_PACKAGE_FOLDER)]
    own = traceback.format_list(frames) if frames else [f"{_DEPENDENCY_NOTE}\n"]
    name = type(error).__name__ if frames else RayTaskError.__name__
    return f"Traceback (most recent call last):\n{''.join(own)}ray.exceptions.{name}: {error}"


_dumps: Callable[[Any], bytes] | None = None


def _pickle(value: object) -> bytes:
    if _dumps is not None:
        return _dumps(value)
    import cloudpickle  # only when something failed: it is slow to import

    return bytes(cloudpickle.dumps(value))


def _dump(cause: BaseException) -> bytes:
    """A pickle of ``cause``. When its class can't be rebuilt from its ``args`` (a constructor of its own, the usual mistake),
    one that restores class, ``args`` and attributes without calling the constructor."""
    dumped = _pickle(cause)
    try:
        pickle.loads(dumped)
    except Exception:
        try:
            return _pickle(_Bare(cause))
        except Exception as failure:
            logger.debug("%s can't be pickled by its parts either: %s", type(cause), failure)
    return dumped


class _Bare:
    """Pickles as the exception it wraps, restored without its constructor."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore_bare, (type(self.error), self.error.args, self.error.__dict__)


def _restore_bare(cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    error: BaseException = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def _restore_error(cls: type[RayError], args: tuple[Any, ...], state: dict[str, Any]) -> RayError:
    error = _restore_bare(cls, args, state)
    assert isinstance(error, RayError)
    return error


def _restore_task_error(state: dict[str, Any], cause: bytes, text: str) -> RayError:
    try:
        restored = pickle.loads(cause)
    except Exception as failure:  # the class may be missing here, or refuse its own arguments
        return UnserializableException(f"{text}\n(it could not be unpickled: {type(failure).__name__}: {failure})")
    error = RayTaskError.__new__(RayTaskError)
    error.__dict__.update(state, cause=restored)
    error.args = (error.function_name, error.traceback_str, restored)
    return error


_dual_classes: dict[type[BaseException], Callable[[RayTaskError], RayTaskError]] = {}


def _dual_class(cause_class: type[BaseException]) -> Callable[[RayTaskError], RayTaskError]:
    """The class of (RayTaskError, cause class), made once for each cause class that lives."""
    known = _dual_classes.get(cause_class)
    if known is None:
        known = _make_dual_class(cause_class)
        if cause_class.__module__ != "__main__":  # classes of __main__ arrive as a new copy each time
            _dual_classes[cause_class] = known
    return known


def _make_dual_class(cause_class: type[BaseException]) -> Callable[[RayTaskError], RayTaskError]:
    built_in: Any = next(base for base in cause_class.__mro__ if not base.__flags__ & _HEAP_TYPE)
    is_group = built_in.__name__ in ("BaseExceptionGroup", "ExceptionGroup")  # not there before Python 3.11

    def make(cls: type[RayTaskError], error: RayTaskError) -> Any:
        # The built-in base makes the instance: a __new__ of the user's may want arguments that nobody has any longer.
        cause: Any = error.cause
        return built_in.__new__(cls, cause.message, cause.exceptions) if is_group else built_in.__new__(cls)

    def initialize(self: Any, error: RayTaskError) -> None:
        # Written past the class, which may have properties or a __setattr__ of its own.
        self.__dict__.update(error.__dict__, _dual_text=str(error), _dual_args=(error.cause,))

    def get_attribute(self: Any, name: str) -> Any:
        if name.startswith("_dual_") or name == "cause":
            raise AttributeError(name)
        return getattr(self.cause, name)

    def set_args(self: Any, value: Any) -> None:
        self.__dict__["_dual_args"] = tuple(value)

    body = {
        "__new__": make,
        "__init__": initialize,
        "__getattr__": get_attribute,
        "__str__": lambda self: self._dual_text,
        "__reduce__": _reduce_dual,
        "__module__": RayTaskError.__module__,
        "args": property(lambda self: self._dual_args, set_args),
        "as_instanceof_cause": lambda self: self,
    }
    body = {**{name: _passed_through(name) for name in _native_attributes(cause_class)}, **body}
    return type(f"RayTaskError({cause_class.__name__})", (RayTaskError, cause_class), body)


def _native_attributes(cause_class: type[BaseException]) -> set[str]:
    """Attributes that live in the instance's C struct or slots (``errno``, ``value``), where ``__getattr__`` is never asked."""
    native = (types.MemberDescriptorType, types.GetSetDescriptorType)
    bases = [base for base in cause_class.__mro__ if base not in (BaseException, Exception, object)]
    return {
        name for base in bases for name, value in vars(base).items() if isinstance(value, native) and not name.startswith("__")
    }


def _passed_through(name: str) -> property:
    return property(lambda self: getattr(self.cause, name))


def _reduce_dual(self: RayTaskError) -> tuple[Any, ...]:
    return _restore_dual, RayTaskError.__reduce__(self)[1]


def _restore_dual(state: dict[str, Any], cause: bytes, text: str) -> RayError:
    error = _restore_task_error(state, cause, text)
    return error.as_instanceof_cause() if isinstance(error, RayTaskError) else error
