from __future__ import annotations

import shoal


@shoal.remote(num_cpus=0)
class Old:
    async def ready(self) -> None:
        return None


@shoal.remote(num_cpus=0)
class New:
    def name(self) -> str:
        return "new"


def test_a_killed_process_serves_no_mailbox_of_a_later_actor() -> None:
    shoal.init(num_cpus=2)
    try:
        for _ in range(15):
            old = Old.remote()
            shoal.get(old.ready.remote())
            shoal.kill(old)
            del old  # its mailbox is free as soon as nothing serves it
            assert shoal.get(New.remote().name.remote(), timeout=20) == "new"
    finally:
        shoal.shutdown()
