"""The kinds of failure that the whole pipeline tells apart.

A room derives its own errors from these; what belongs here is the distinction that decides what
happens next (stop and ask a person, give up on this one thing, or try again later), and how a
library's error is quoted in ours.
"""


class CatalogError(Exception):
    """Every failure that this project foresees; its message names what, where and what to do.

    `report` is a longer text, fit to be forwarded to somebody outside, where there is one to ask.
    """

    report: str | None = None


class ConfigurationError(CatalogError):
    """Settings, `stores.yaml` or a command's arguments are wrong: nothing was started."""


class PermanentError(CatalogError):
    """Trying again without a change somewhere else cannot help."""


class TransientError(CatalogError):
    """Trying again later may help."""


class ServiceUnavailableError(TransientError):
    """The database or Qdrant cannot be reached: the one failure an asset is retried for."""


def first_line(error: BaseException) -> str:
    """What a library's error says, in one line; its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
