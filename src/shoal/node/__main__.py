"""The start of a daemon or a zygote process: ``python -m shoal.node``, or this file by its path, which spares it
``shoal/__init__``.

``--embedded FD``: FD is one end of a socketpair whose other end the driver has; the configuration comes through it.
``--zygote FD``: the same from the daemon, to replace a zygote that died.
``--prepare FD``: the same, to install or to look at what a runtime environment needs.
``--session-folder DIR [--num-cpus N]``: a node that stands alone; drivers connect to DIR/daemon.sock.
"""

import faulthandler
import os
import sys

if not __package__:
    # Run by path: this folder is on sys.path and would shadow others' modules. The package itself is executed later, by the
    # zygote.
    _root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path[0] = _root
    _package = type(sys)("shoal")
    _package.__path__ = [os.path.join(_root, "shoal")]
    sys.modules["shoal"] = _package

from shoal.node.boot import main

if __name__ == "__main__":
    faulthandler.enable()  # a crash of the kernel says where, in the log
    main(sys.argv[1:])
