from __future__ import annotations

import pickle
import sys

import pytest

from shoal import exceptions
from shoal.core import serialization
from shoal.exceptions import RayError, RayTaskError


class TwoArguments(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class OwnNew(Exception):
    def __new__(cls, needed: int) -> OwnNew:
        return super().__new__(cls)


class ReadOnlyArgs(Exception):
    @property
    def args(self) -> tuple[str]:  # type: ignore[override]
        return ("fixed",)


class Slotted(Exception):
    __slots__ = ("extra",)


class FinalMeta(type):
    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, object]) -> FinalMeta:
        if any(isinstance(base, FinalMeta) for base in bases):
            raise TypeError(f"{name} is final")
        return super().__new__(cls, name, bases, body)


class Final(Exception, metaclass=FinalMeta):
    pass


def task_error(cause: BaseException, name: str = "f") -> RayTaskError:
    try:
        raise cause
    except BaseException as error:
        return RayTaskError.from_exception(name, error)


SAMPLES: list[RayError] = [
    task_error(ValueError("x")),
    exceptions.UserCodeException("u"),
    exceptions.UnserializableException("trace"),
    exceptions.CrossLanguageError("c"),
    exceptions.TaskCancelledError("id", "why"),
    exceptions.WorkerCrashedError("signal 9"),
    exceptions.DeadlockError("f waits for f"),
    exceptions.LocalRayletDiedError(),
    exceptions.NodeDiedError("n"),
    exceptions.OutOfMemoryError("m"),
    exceptions.RayActorError("ab", "m", True, True),
    exceptions.ActorDiedError("killed", actor_id="ab", facts={"pid": 3}, preempted=True),
    exceptions.ActorUnavailableError("restarting", b"\1\2"),
    exceptions.ActorAlreadyExistsError("taken"),
    exceptions.ActorHandleNotFoundError("old"),
    exceptions.AsyncioActorExit(),
    exceptions.PendingCallsLimitExceeded("5"),
    exceptions.TaskUnschedulableError("no GPU"),
    exceptions.ActorUnschedulableError("no GPU"),
    exceptions.TaskPlacementGroupRemoved(),
    exceptions.ActorPlacementGroupRemoved(),
    exceptions.RuntimeEnvSetupError("pip failed"),
    exceptions.ObjectLostError("ab", b"addr", "file.py:3"),
    exceptions.ObjectFetchTimedOutError("ab"),
    exceptions.ReferenceCountingAssertionError("ab"),
    exceptions.ObjectFreedError("ab"),
    exceptions.OwnerDiedError("ab"),
    exceptions.ObjectReconstructionFailedError("ab", "PUT"),
    exceptions.ObjectStoreFullError("who holds what"),
    exceptions.OutOfDiskError("disk"),
    exceptions.PlasmaObjectNotAvailable("p"),
    exceptions.GetTimeoutError("late"),
    exceptions.ObjectRefStreamEndOfStreamError("end"),
    exceptions.OufOfBandObjectRefSerializationException("o"),
    exceptions.RaySystemError("s", "tb"),
    exceptions.StreamingGeneratorReplayInconsistentError("r"),
    exceptions.RayChannelError("c"),
    exceptions.RayChannelTimeoutError("c"),
    exceptions.RayCgraphCapacityExceeded("c"),
    exceptions.RayDirectTransportError("d"),
    exceptions.RpcError("rpc", 4),
    exceptions.AuthenticationError("token"),
    RayError("plain"),
]


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_every_error_survives_pickling(error: RayError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and str(copy) == str(error)
    state = {name: value for name, value in vars(error).items() if name != "cause"}
    assert {name: vars(copy)[name] for name in state} == state


def test_every_error_has_a_sample() -> None:
    assert {type(error) for error in SAMPLES} == set(exceptions.RAY_EXCEPTION_TYPES)


@pytest.mark.parametrize(
    ("error_class", "base"),
    [
        (exceptions.ActorDiedError, exceptions.RayActorError),
        (exceptions.ActorUnavailableError, exceptions.RayActorError),
        (exceptions.ActorAlreadyExistsError, ValueError),
        (exceptions.ActorHandleNotFoundError, ValueError),
        (exceptions.GetTimeoutError, TimeoutError),
        (exceptions.RayChannelTimeoutError, TimeoutError),
        (exceptions.OwnerDiedError, exceptions.ObjectLostError),
        (exceptions.ObjectReconstructionFailedError, exceptions.ObjectLostError),
        (exceptions.ReferenceCountingAssertionError, AssertionError),
        (exceptions.RayChannelError, exceptions.RaySystemError),
        (exceptions.ShoalError, RayError),
    ],
)
def test_hierarchy(error_class: type, base: type) -> None:
    assert issubclass(error_class, base) and issubclass(error_class, RayError)


def test_a_task_error_is_the_users_class_too() -> None:
    error = task_error(TwoArguments(7, "no")).as_instanceof_cause()
    assert isinstance(error, TwoArguments) and isinstance(error, RayTaskError)
    assert error.code == 7
    assert isinstance(error.cause, TwoArguments) and error.args == (error.cause,)
    assert type(error).__name__ == "RayTaskError(TwoArguments)"


def test_its_text_is_the_remote_traceback() -> None:
    lines = str(task_error(ValueError("deep")).as_instanceof_cause()).splitlines()
    assert lines[0].startswith("ray::f() (pid=") and lines[-1] == "ValueError: deep"
    assert "in task_error" in str(lines)


def test_an_actors_error_names_the_actor() -> None:
    error = RayTaskError.from_exception("A.f", ValueError("x"), actor_repr="A(3)", actor_id="abcd")
    assert "actor_id=abcd, repr=A(3))" in str(error).splitlines()[0]


@pytest.mark.parametrize(
    ("cause", "attribute", "value"),
    [
        (FileNotFoundError(2, "gone"), "errno", 2),
        (OSError(5, "io", "file"), "filename", "file"),
        (StopIteration(4), "value", 4),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), "reason", "bad"),
        (ImportError("no", name="m"), "name", "m"),
    ],
)
def test_attributes_of_built_in_classes_pass_through(cause: Exception, attribute: str, value: object) -> None:
    error = task_error(cause).as_instanceof_cause()
    assert isinstance(error, type(cause)) and getattr(error, attribute) == value
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, type(cause)) and getattr(copy, attribute) == value


@pytest.mark.parametrize("cause", [OwnNew(1), ReadOnlyArgs("a"), KeyError("k")])
def test_odd_classes_are_still_combined(cause: Exception) -> None:
    error = task_error(cause).as_instanceof_cause()
    assert isinstance(error, type(cause)) and isinstance(error, RayTaskError)


def test_slots_pass_through() -> None:
    cause = Slotted()
    cause.extra = 3
    assert task_error(cause).as_instanceof_cause().extra == 3  # type: ignore[attr-defined]


def test_a_final_class_falls_back_to_the_plain_error(caplog: pytest.LogCaptureFixture) -> None:
    error = task_error(Final("f"))
    assert error.as_instanceof_cause() is error and isinstance(error.cause, Final)
    assert "can't be combined" in caplog.text


@pytest.mark.parametrize("cause", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_what_ends_programs_stays_a_plain_task_error(cause: BaseException) -> None:
    error = task_error(cause)
    assert error.as_instanceof_cause() is error


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no exception groups")
def test_groups_can_be_split_by_the_caller() -> None:
    error = task_error(ExceptionGroup("g", [ValueError(1), KeyError(2)])).as_instanceof_cause()  # noqa: F821
    assert isinstance(error, ExceptionGroup) and len(error.exceptions) == 2  # noqa: F821
    matching = pickle.loads(pickle.dumps(error)).split(ValueError)[0]
    assert [str(each) for each in matching.exceptions] == ["1"]


def test_the_combined_error_pickles_as_the_same_combination() -> None:
    copy = pickle.loads(pickle.dumps(task_error(TwoArguments(7, "no")).as_instanceof_cause()))
    assert isinstance(copy, TwoArguments) and isinstance(copy, RayTaskError) and copy.code == 7


def test_the_same_class_gives_the_same_combined_class() -> None:
    first, second = (type(task_error(ValueError(1)).as_instanceof_cause()) for _ in range(2))
    assert first is second


def test_through_a_dependency_the_innermost_cause_is_kept() -> None:
    inner = task_error(TwoArguments(7, "no"), "inner").as_instanceof_cause()
    outer = task_error(inner, "outer")
    assert type(outer.cause) is TwoArguments
    text = str(outer)
    assert text.index("ray::outer()") < text.index("in task_error") < text.index("RayTaskError(TwoArguments): ray::inner()")
    assert text.endswith("TwoArguments: 7: no")


def test_a_task_that_never_started_names_its_argument() -> None:
    text = str(RayTaskError.from_exception("outer", task_error(ValueError("no"), "inner")))
    assert text.splitlines()[1:3][0].startswith("  At least one of the input arguments for this task could not be computed")
    assert "ray.exceptions.RayTaskError: ray::inner() (pid=" in text and text.endswith("ValueError: no")


def test_a_base_exception_of_the_users_is_combined_too() -> None:
    class Base(BaseException):
        pass

    error = task_error(Base("b")).as_instanceof_cause()
    assert isinstance(error, Base) and isinstance(error, RayTaskError)


def test_a_cause_that_cannot_be_pickled_keeps_its_text() -> None:
    cause = ValueError("text")
    cause.lock = __import__("threading").Lock()  # type: ignore[attr-defined]
    error = task_error(cause)
    assert type(error.cause) is RayError
    assert "isn't serializable" in str(error.cause) and "ValueError: text" in str(error.cause)
    assert isinstance(pickle.loads(pickle.dumps(error)), RayTaskError)


def refuse() -> None:
    raise RuntimeError("never again")


class Refuses(Exception):
    def __reduce__(self) -> tuple[object, ...]:
        return refuse, ()

    def __new__(cls, *args: object) -> Refuses:
        if args != ("boom",):
            refuse()
        return super().__new__(cls)


def test_a_cause_that_cannot_be_unpickled_keeps_its_traceback() -> None:
    cause = Refuses("boom")
    cause.args = ()
    error = pickle.loads(pickle.dumps(task_error(cause)))
    assert isinstance(error, exceptions.UnserializableException)
    assert "Refuses" in str(error) and "never again" in str(error)


def test_a_registered_serializer_is_used_for_causes() -> None:
    serialization.register_serializer(
        Refuses, serializer=lambda error: "kept", deserializer=lambda text: Refuses("boom") if text == "kept" else None
    )
    try:
        data = pickle.dumps(task_error(Refuses("boom")).as_instanceof_cause())
    finally:
        serialization.deregister_serializer(Refuses)
    assert isinstance(pickle.loads(data), Refuses)


def test_a_dead_actor_whose_constructor_raised_says_so() -> None:
    error = exceptions.ActorDiedError(RayTaskError.from_exception("A.__init__", ValueError("no"), actor_id="abcd"))
    assert error.actor_init_failed and not error.preempted and error.actor_id == "abcd"
    assert "an error raised in its creation task" in str(error) and "ValueError: no" in str(error)


def test_a_dead_actor_lists_the_facts_first() -> None:
    error = exceptions.ActorDiedError("exit code 3", actor_id="ab", facts={"class_name": "A", "name": ""}, preempted=True)
    assert str(error).splitlines()[1:] == ["\tactor_id: ab", "\tclass_name: A", "exit code 3"]
    assert error.preempted and not error.actor_init_failed


def test_a_failed_reconstruction_names_its_reason() -> None:
    error = exceptions.ObjectReconstructionFailedError("ab", "RETRIES_DISABLED")
    assert error.reason == "RETRIES_DISABLED" and "max_retries=0" in str(error)


def test_a_cancelled_task_names_itself() -> None:
    assert "Task: TaskID(ab) was cancelled" in str(exceptions.TaskCancelledError("TaskID(ab)"))
    assert "was cancelled" in str(exceptions.TaskCancelledError())
