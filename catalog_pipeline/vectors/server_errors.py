"""What a Qdrant server's failures mean to us: pass in time, or not without a change.

Messages carry the server's name and its reason, never a header, so never the key.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import grpc
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from catalog_pipeline.errors import (
    CatalogError,
    PermanentError,
    ServiceUnavailableError,
    first_line,
)

_UNAVAILABLE = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
}
_UNAUTHORISED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


class Server:
    """A server by the name that messages call it."""

    def __init__(self, name: str) -> None:
        self.name = name

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate what qdrant-client raises.

        Raises:
            ServiceUnavailableError: connection trouble, time-outs, an overloaded server.
            PermanentError: everything else.
        """
        try:
            yield
        except CatalogError:
            raise
        except (ResponseHandlingException, ResourceExhaustedResponse) as error:
            raise self._unavailable(first_line(error)) from error
        except UnexpectedResponse as error:
            status = error.status_code or 0
            if status in {401, 403}:
                raise self._unauthorised(f"HTTP {status}") from error
            if status in {408, 429} or status >= 500:
                raise self._unavailable(f"HTTP {status} {error.reason_phrase}") from error
            raise self._refused(f"HTTP {status}: {_said(error)}") from error
        except grpc.RpcError as error:
            call = cast("grpc.Call", error)
            code, details = call.code(), str(call.details()).split("\n", 1)[0]
            if code in _UNAUTHORISED:
                raise self._unauthorised(code.name) from error
            if code in _UNAVAILABLE:
                raise self._unavailable(f"{code.name}: {details}") from error
            raise self._refused(f"{code.name}: {details}") from error
        except (ValueError, TypeError, KeyError, RuntimeError) as error:
            # What the client checks itself, and all that its local mode refuses.
            raise self._refused(first_line(error)) from error

    def _unavailable(self, reason: str) -> ServiceUnavailableError:
        return ServiceUnavailableError(
            f"{self.name} cannot be used now: {reason}; check that it runs and that "
            "CATALOG_QDRANT_URL is right"
        )

    def _unauthorised(self, reason: str) -> PermanentError:
        return PermanentError(
            f"{self.name} refused the key ({reason}): set CATALOG_QDRANT_API_KEY to a key that "
            "may write"
        )

    def _refused(self, reason: str) -> PermanentError:
        return PermanentError(f"{self.name} refused: {reason}")


def _said(error: UnexpectedResponse) -> str:
    try:
        return str(error.structured()["status"]["error"])
    except (ValueError, KeyError, TypeError):
        # Not Qdrant's own answer: a proxy's page says nothing worth repeating.
        return error.reason_phrase
