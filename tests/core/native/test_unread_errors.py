from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import shoal

@shoal.remote(num_cpus=0)
class Coroutines:
    async def fail(self, word):
        raise ValueError(word)
    def ready(self):
        return True

@shoal.remote
def fail(word):
    raise ValueError(word)

@shoal.remote(num_cpus=0)
class Methods:
    def fail(self, word):
        raise ValueError(word)
    def ready(self):
        return True

shoal.init(num_cpus=1)
fail.remote("dropped-task")
fail.remote(fail.remote("dropped-chain"))
kept = fail.remote("kept-task")
inner = [fail.remote("kept-inside")]
holder = shoal.put(inner)
del inner
sync = Methods.remote()
sync.fail.remote("dropped-call")
kept_call = sync.fail.remote("kept-call")
shoal.get(sync.ready.remote())
loop = Coroutines.remote()
loop.fail.remote("dropped-coroutine")
shoal.get(loop.ready.remote())
done, _ = shoal.wait([kept, kept_call], num_returns=2, timeout=20)
assert len(done) == 2
for ref in [kept, kept_call, *shoal.get(holder)]:
    try:
        shoal.get(ref)
    except ValueError:
        pass
shoal.shutdown()
"""


def run(**variables: str) -> str:
    variables["PATH"] = "/usr/bin:/bin"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, env=variables, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr + done.stdout


def test_what_nobody_can_read_any_more_is_logged() -> None:
    shown = run()
    for word in ("dropped-task", "dropped-chain", "dropped-call", "dropped-coroutine"):
        assert f"ValueError: {word}" in shown
    assert shown.count("Unhandled error: nobody refers to the result of") == 4
    assert "kept" not in shown


def test_a_variable_suppresses_it() -> None:
    assert "Unhandled" not in run(RAY_IGNORE_UNHANDLED_ERRORS="1")
