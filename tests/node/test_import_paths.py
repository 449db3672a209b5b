from __future__ import annotations

from shoal.node.import_paths import FOREIGN, INSTALLED, worker_path

LIBRARY = ["/usr/lib/python311.zip", "/usr/lib/python3.11", "/usr/lib/python3.11/lib-dynload"]
DRIVER = ["/script", *LIBRARY, "/driver/lib/python3.11/site-packages", "/driver/editable"]


def test_the_drivers_own_interpreter_has_the_drivers_path() -> None:
    assert worker_path(DRIVER, ["/something"], "") == DRIVER


def test_installed_packages_come_before_those_of_the_driver_and_after_its_scripts() -> None:
    own = [*LIBRARY, "/cache/lib/python3.11/site-packages", "/driver/lib/python3.11/site-packages", "/driver/editable"]
    assert worker_path(DRIVER, own, INSTALLED) == [
        "/script",
        *LIBRARY,
        "/cache/lib/python3.11/site-packages",
        "/driver/lib/python3.11/site-packages",
        "/driver/editable",
    ]


def test_installed_packages_come_last_when_the_driver_has_none() -> None:
    assert worker_path(["/script"], ["/cache/lib/python3.11/site-packages"], INSTALLED) == [
        "/script",
        "/cache/lib/python3.11/site-packages",
    ]


def test_a_foreign_interpreter_keeps_its_packages_and_sees_the_drivers_scripts() -> None:
    own = ["/other/lib/python3.11", "/other/lib/python3.11/site-packages"]
    assert worker_path(DRIVER, own, FOREIGN) == ["/script", "/driver/editable", *own]
