"""Names to addresses, as this machine resolves them, within a time.

The system's resolver knows its hosts file and its routes, which a DNS library would not, but cannot
be interrupted: it may sit out the time-outs of every name server. So each look-up has a thread of
its own that is left behind when the time is over, and there are never more than `THREADS` of them.
"""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import Future

import httpcore

# As many as a store may have connections; a look-up that finds none free waits within its time.
THREADS = 64

_free = threading.BoundedSemaphore(THREADS)


class UnknownHostError(httpcore.ConnectError):
    """The name has no address; a transport error like any other to httpcore."""


def resolve(host: str, port: int, timeout: float | None) -> list[str]:
    """The addresses of a name, each once, in the resolver's order.

    Args:
        host: a name in ASCII, or an address in any spelling that the resolver knows.
        port: for the look-up's arguments only.
        timeout: seconds; None waits as long as the resolver does.

    Raises:
        UnknownHostError: the name has no address, or is no name.
        httpcore.ConnectError: it cannot be resolved now.
        httpcore.ConnectTimeout: the time is over.
    """
    ends_at = None if timeout is None else time.monotonic() + timeout
    too_long = f"{host} took too long to resolve"
    if not _free.acquire(timeout=None if timeout is None else max(0.0, timeout)):
        raise httpcore.ConnectTimeout(too_long)
    answer: Future[list[str]] = Future()
    try:
        # A daemon: what still hangs when the process ends does not hold it up.
        threading.Thread(
            target=_look_up, args=(answer, host, port), name="resolver", daemon=True
        ).start()
    except RuntimeError as error:
        _free.release()
        raise httpcore.ConnectError(f"{host} cannot be resolved now: {error}") from error
    try:
        return answer.result(None if ends_at is None else max(0.0, ends_at - time.monotonic()))
    except TimeoutError as error:
        raise httpcore.ConnectTimeout(too_long) from error
    except socket.gaierror as error:
        if error.errno == socket.EAI_NONAME:
            raise UnknownHostError(f"{host} is not known") from error
        raise httpcore.ConnectError(f"{host} cannot be resolved now") from error
    except ValueError as error:
        raise UnknownHostError(f"{host!r} is not a name") from error


def _look_up(answer: Future[list[str]], host: str, port: int) -> None:
    try:
        # As bytes, so that Python's own IDNA codec, older than the web's, is left out.
        found = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
    except Exception as error:  # noqa: BLE001 - raised again where it is waited for
        answer.set_exception(error)
    else:
        answer.set_result(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
    finally:
        _free.release()
