from __future__ import annotations

import pickle

from shoal.core.native.calls import FUNCTION, Call


def test_a_call_record_travels_as_its_values() -> None:
    call = Call(FUNCTION, "module.f", None, method="module.f", retry_exceptions=(OSError,), threads=4)
    restored = pickle.loads(pickle.dumps(call))
    assert restored == call and restored.threads == 4 and restored.group == ""
