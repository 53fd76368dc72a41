"""Processes by a name that outlives them: which machine, which process, and when it began.

Whoever leaves something behind under such a name, a lease or a run, can be told from a later
process that was given the same number.
"""

from __future__ import annotations

import os
import socket

import psutil


def this_process() -> str:
    """This process's name, HOST|PID|STARTED."""
    return f"{socket.gethostname()}|{os.getpid()}|{psutil.Process().create_time():.2f}"


def is_running(name: str) -> bool | None:
    """Whether the process of that name lives; None for one of another machine."""
    host, pid, started = name.split("|", 2)
    if host != socket.gethostname():
        return None
    try:
        process = psutil.Process(int(pid))
        # A zombie is dead, and in a container perhaps nobody will ever ask for its status.
        is_dead = process.status() == psutil.STATUS_ZOMBIE
        return not is_dead and f"{process.create_time():.2f}" == started
    except psutil.NoSuchProcess:
        return False
