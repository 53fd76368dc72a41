"""Checkpoints on the Hugging Face hub: one snapshot, from the cache if it is there.

The cache comes first, so that a model changes when somebody changes it and not when its author
does, and so that a filled cache needs no network.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from catalog_pipeline.embeddings.problems import CheckpointError
from catalog_pipeline.errors import TransientError

logger = logging.getLogger(__name__)


def hub_snapshot(
    repository: str, config: str, weights: Sequence[str], *, download: bool = True
) -> Path:
    """A local folder with a repository's configuration and weights, both of one commit.

    Args:
        repository: `ORGANISATION/NAME`.
        config: name of the configuration file.
        weights: names of weights files, the preferred one first; one of them is needed.
        download: whether to ask the hub for what the cache lacks.

    Raises:
        CheckpointError: the repository or a file is absent, closed, or neither cached nor
            reachable.
        TransientError: the hub answers with an error of its own.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    # Not hf_hub_download(local_files_only=True): its client asks the hub who is calling first.
    cached = try_to_load_from_cache(repository, config)
    folder = Path(cached).parent if isinstance(cached, str) else None
    if folder is not None and any((folder / name).is_file() for name in weights):
        return folder
    if not download:
        raise _not_cached(repository)
    logger.info("hf-hub:%s is downloaded, once; that takes minutes", repository)
    if folder is None:
        try:
            folder = _fetch(repository, config).parent
        except EntryNotFoundError as error:
            raise _explained(repository, config, error) from error
    for name in weights:
        try:
            _fetch(repository, name, revision=folder.name)
        except LocalEntryNotFoundError as error:
            raise _explained(repository, name, error) from error
        except EntryNotFoundError:
            continue
        return folder
    raise CheckpointError(
        f"hf-hub:{repository} has none of {', '.join(weights)}; it is no open_clip checkpoint"
    )


def _fetch(repository: str, name: str, *, revision: str | None = None) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(hf_hub_download(repository, name, revision=revision))
    except EntryNotFoundError:
        raise
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        # Gated repositories are among them.
        raise CheckpointError(
            f"hf-hub:{repository} cannot be had: there is no such repository, or it is not open to "
            "you (set HF_TOKEN if it is private or asks for consent)"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise TransientError(
            f"the hub answered {status} for {name} of hf-hub:{repository}; try again later"
        ) from error
    except Exception as error:
        raise TransientError(
            f"{name} of hf-hub:{repository} could not be downloaded ({type(error).__name__}: "
            f"{error}); look for a full disk or a lost connection and try again"
        ) from error


def _not_cached(repository: str) -> CheckpointError:
    return CheckpointError(
        f"hf-hub:{repository} is not in this machine's hub cache, and a question is not worth its "
        f"download; the first sync fetches it, or `hf download {repository}`"
    )


def _explained(repository: str, name: str, error: Exception) -> CheckpointError:
    from huggingface_hub.errors import LocalEntryNotFoundError

    if not isinstance(error, LocalEntryNotFoundError):
        return CheckpointError(f"hf-hub:{repository} has no {name}; it is no open_clip checkpoint")
    return CheckpointError(
        f"{name} of hf-hub:{repository} is not in the local cache and the hub cannot be reached; "
        f"run `hf download {repository}` on a machine that reaches it and bring its cache folder "
        "(HF_HUB_CACHE), or copy the files into a folder and set CATALOG_MODEL=local-dir:PATH"
    )
