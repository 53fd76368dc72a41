"""Processes by a name that outlives them: which machine, which process, and when it began.

Whoever leaves something behind under such a name, a lease or a run, can be told from a later
process that was given the same number.
"""

from __future__ import annotations

import os
import socket
import sys

import psutil


def this_process() -> str:
    """This process's name, HOST|PID|STARTED."""
    return process_name(os.getpid())


def process_name(pid: int) -> str:
    """The name of a process of this machine.

    Raises:
        psutil.NoSuchProcess: there is none with this number.
    """
    return f"{socket.gethostname()}|{pid}|{_began(psutil.Process(pid))}"


def is_running(name: str) -> bool | None:
    """Whether the process of that name lives; None for one of another machine."""
    host, pid, started = name.split("|", 2)
    if host != socket.gethostname():
        return None
    try:
        process = psutil.Process(int(pid))
        # A zombie is dead, and in a container perhaps nobody will ever ask for its status.
        is_dead = process.status() == psutil.STATUS_ZOMBIE
        return not is_dead and _began(process) == started
    except psutil.NoSuchProcess:
        return False


def _began(process: psutil.Process) -> str:
    """When a process began, by a clock that nobody sets."""
    moment = process.create_time()
    if sys.platform == "linux":
        # The kernel counts from its boot, and says of that only when it was by the clock of now:
        # after a clock was set, or a virtual machine woke, the living would have other names.
        moment -= psutil.boot_time()
    return f"{moment:.2f}"
