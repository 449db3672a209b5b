from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, threading
sys.modules["tqdm.auto"] = None  # plain text, whatever is installed
import shoal
from shoal.experimental import tqdm_ray

closed = threading.Event()
draw = tqdm_ray.process_line

def draw_and_notice(line):
    drawn = draw(line)
    if '"closed": true' in line:
        closed.set()
    return drawn

tqdm_ray.process_line = draw_and_notice

@shoal.remote
def steps():
    from shoal.experimental.tqdm_ray import tqdm
    return sum(tqdm([1, 2, 3], desc="adding", flush_interval_s=0))

shoal.init(num_cpus=1)
print(shoal.get(steps.remote()), closed.wait(20))
shoal.shutdown()
"""


def test_a_bar_in_a_task_is_drawn_by_the_driver() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "6 True\n"
    assert done.stderr.splitlines()[-1].endswith("adding: [####################] 3/3 it")
