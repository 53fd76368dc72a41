"""Pictures and texts to unit vectors, as fast as the device takes them.

Decoding and preprocessing run in threads and write straight into the next batch's buffer. On an
accelerator they work up to two batches ahead of it; on the CPU they take turns with the model,
because both would fight for the same cores. What becomes of the vectors belongs to `sync.py`.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from catalog_pipeline.embeddings.libraries import import_ahead
from catalog_pipeline.embeddings.loading import Device, LoadedModel, Precision, load_model
from catalog_pipeline.embeddings.model import ModelSpec, resolve_model
from catalog_pipeline.embeddings.problems import DeviceMemoryError
from catalog_pipeline.errors import CatalogError, PermanentError
from catalog_pipeline.images.blobs import DamagedBlobError
from catalog_pipeline.images.pictures import UnreadablePictureError, held_rgb

if TYPE_CHECKING:
    import torch

Vectors = npt.NDArray[np.float32]
# Bytes at hand, or a way to read them, which then happens in a decoding thread.
Content = bytes | Callable[[], bytes]

MISSING = "missing"
DAMAGED = "damaged"
UNDECODABLE = "undecodable"
NOT_FINITE = "not_finite"
ZERO = "zero"
_BATCHES_AHEAD = 2
_MAX_THREADS = 32
_SMALLEST_NORM = 1e-12


@dataclass(frozen=True)
class EncodedBatch:
    """A batch's outcome.

    Attributes:
        keys: of the images that have a vector, in the order they came.
        vectors: (len(keys), dimensions), float32, each of length 1.
        refused: key to reason (`missing`, `damaged`, `undecodable`, `not_finite`, `zero`) of the
            others.
    """

    keys: list[str]
    vectors: Vectors
    refused: dict[str, str]


class Embedder:
    """One model on one device; loads it when the first image or text comes. Thread-safe."""

    def __init__(
        self,
        name: str,
        *,
        device: Device = "auto",
        precision: Precision = "auto",
        batch_size: int | Literal["auto"] = "auto",
    ) -> None:
        """Remember what to load; see `resolve_model` for names and `load_model` for the rest."""
        self._name = name
        self._device: Device = device
        self._precision: Precision = precision
        self._batch_size: int | Literal["auto"] = batch_size
        self._lock = threading.RLock()
        self._spec: ModelSpec | None = None
        self._model: LoadedModel | None = None
        self._is_expected = False

    @property
    def spec(self) -> ModelSpec:
        """The model's names and hashes, without loading it; raises as `resolve_model` does."""
        with self._lock:
            if self._spec is None:
                self._spec = resolve_model(self._name)
            return self._spec

    @property
    def model_version(self) -> str:
        """The model's version, without loading it; raises as `spec` does."""
        return self.spec.model_version

    @property
    def loaded(self) -> LoadedModel | None:
        """The model if something was embedded with it: its device, precision and batch size."""
        return self._model

    def expect(self) -> None:
        """Begin to import what the model needs: soon there is something to embed.

        Never fails, and may be said again and again: whoever loads the model downloads it, and
        tells what is wrong with it.
        """
        with self._lock:
            if self._is_expected:
                return
            self._is_expected = True
        with suppress(CatalogError):
            spec = resolve_model(self._name, download=False)
            import_ahead(spec.towers_of)

    def load(self) -> LoadedModel:
        """The model, loaded once; raises as `resolve_model` and `load_model` do."""
        with self._lock:
            if self._model is None:
                self._model = load_model(self.spec, self._device, self._precision, self._batch_size)
            return self._model

    def encode(self, items: Iterable[tuple[str, Content]]) -> Iterator[EncodedBatch]:
        """Embed images in batches, in order; loads nothing if there are none.

        A content that is a function may raise `FileNotFoundError` or `DamagedBlobError`, which
        refuse that image; what else it raises ends the encoding.

        Raises:
            DeviceMemoryError: not even one image fits into the device's memory.
        """
        remaining = iter(items)
        first = next(remaining, None)
        if first is None:
            return
        model = self.load()
        forward = FittingForward(model.encode_images, model.batch_size)
        # CUDA runs a batch while the one before is taken home.
        running = 1 if model.device.type == "cuda" else 0
        waiting: deque[tuple[list[str], list[str | None], Callable[[], Vectors]]] = deque()
        for keys, reasons, batch in _preprocessed(model, chain([first], remaining)):
            waiting.append((keys, reasons, model.read_later(forward(batch))))
            if len(waiting) > running:
                yield _outcome(*waiting.popleft())
        while waiting:
            yield _outcome(*waiting.popleft())

    def encode_image(self, content: bytes) -> Vectors:
        """The vector (dimensions,) of one picture.

        Raises:
            PermanentError: the picture cannot be decoded or gives no usable vector.
        """
        (batch,) = self.encode([("image", content)])
        if batch.refused:
            raise PermanentError(f"the picture cannot be embedded: {batch.refused['image']}")
        vector: Vectors = batch.vectors[0]
        return vector

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Vectors (len(texts), dimensions) of texts, by the checkpoint's text tower.

        Raises:
            CheckpointError: the checkpoint's tokenizer is absent or is another model's.
            ConfigurationError: the tokenizer needs a package that is not installed.
            PermanentError: a text gives no usable vector.
        """
        features = self.load().encode_texts(texts).cpu().numpy()
        vectors, reasons = unit_vectors(features)
        if bad := [reason for reason in reasons if reason]:
            raise PermanentError(f"a text cannot be embedded: its vector is {bad[0]}")
        return vectors


class FittingForward:
    """Runs batches through a model in pieces that fit into the device's memory."""

    def __init__(self, run: Callable[[torch.Tensor], torch.Tensor], size: int) -> None:
        """Begin with pieces of `size` images; the size halves whenever memory runs out."""
        self._run = run
        self.size = size

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """The features of a batch.

        Raises:
            DeviceMemoryError: not even one image fits.
        """
        import torch

        while True:
            try:
                return torch.cat([self._run(piece) for piece in torch.split(batch, self.size)])
            except torch.OutOfMemoryError as error:
                if self.size == 1:
                    raise DeviceMemoryError(
                        "the device has too little free memory for a single image; end what else "
                        "runs on it or set CATALOG_DEVICE=cpu"
                    ) from error
            # Only here, after the except block, are the failed attempt's tensors free.
            self.size = max(1, min(self.size, len(batch)) // 2)
            torch.cuda.empty_cache()


def unit_vectors(features: npt.NDArray[np.floating]) -> tuple[Vectors, list[str | None]]:
    """Rows scaled to length 1, and for each row why it must not be used, or None.

    Args:
        features: (n, dimensions); rows that are not finite, or zero, come back as zeros.
    """
    wide = features.astype(np.float64)
    finite = np.asarray(np.isfinite(wide).all(axis=1))
    wide[~finite] = 0.0
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    usable = norms[:, 0] > _SMALLEST_NORM
    wide[~usable] = 0.0
    vectors = (wide / np.where(norms > _SMALLEST_NORM, norms, 1.0)).astype(np.float32)
    reasons = [
        None if good else (ZERO if sound else NOT_FINITE)
        for good, sound in zip(usable, finite, strict=True)
    ]
    return vectors, reasons


def _preprocessed(
    model: LoadedModel, items: Iterator[tuple[str, Content]]
) -> Iterator[tuple[list[str], list[str | None], torch.Tensor]]:
    """Batches of preprocessed images with their keys and, row by row, why a row is empty."""
    ahead = 0 if model.device.type == "cpu" else _BATCHES_AHEAD
    pool = _decoding_threads()
    pending: deque[tuple[list[str], list[Future[str | None]], torch.Tensor]] = deque()
    try:
        while True:
            while len(pending) <= ahead and (chunk := list(islice(items, model.batch_size))):
                buffer = _buffer(model, len(chunk))
                futures = [
                    pool.submit(partial(_fill, model, content, buffer[row]))
                    for row, (_key, content) in enumerate(chunk)
                ]
                pending.append(([key for key, _content in chunk], futures, buffer))
            if not pending:
                return
            keys, futures, buffer = pending.popleft()
            yield keys, [future.result() for future in futures], buffer
    finally:
        pool.shutdown(cancel_futures=True)


def _decoding_threads() -> ThreadPoolExecutor:
    """Threads in which torch's own operations stay single-threaded.

    Each would otherwise bring a team of its own, and the teams would fight for the cores.
    """
    import torch

    count, usual = _cores(), torch.get_num_threads()
    ready = threading.Barrier(count + 1)

    def begin() -> None:
        # The first call is what makes torch set this thread up; it would undo the second later.
        torch.get_num_threads()
        torch.set_num_threads(1)
        ready.wait()

    pool = ThreadPoolExecutor(count, thread_name_prefix="decode", initializer=begin)
    for _ in range(count):
        pool.submit(int)
    ready.wait()
    # What the threads set for themselves is also torch's default for threads to come.
    torch.set_num_threads(usual)
    return pool


def _buffer(model: LoadedModel, size: int) -> torch.Tensor:
    import torch

    # Zeros, because a refused image leaves its row as it is.
    return torch.zeros((size, 3, *model.image_size), pin_memory=model.device.type == "cuda")


def _fill(model: LoadedModel, content: Content, row: torch.Tensor) -> str | None:
    """Decode and preprocess one image into its row of a batch; the reason if it cannot be."""
    if callable(content):
        try:
            content = content()
        except FileNotFoundError:
            return MISSING
        except DamagedBlobError:
            return DAMAGED
    try:
        with held_rgb(content) as image:
            row.copy_(model.preprocess(image))
    except UnreadablePictureError:
        return UNDECODABLE
    return None


def _outcome(
    keys: list[str], reasons: list[str | None], read: Callable[[], Vectors]
) -> EncodedBatch:
    vectors, unusable = unit_vectors(read())
    verdicts = [empty or bad for empty, bad in zip(reasons, unusable, strict=True)]
    kept = [row for row, reason in enumerate(verdicts) if reason is None]
    return EncodedBatch(
        keys=[keys[row] for row in kept],
        vectors=vectors[kept],
        refused={
            key: reason for key, reason in zip(keys, verdicts, strict=True) if reason is not None
        },
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), _MAX_THREADS)
    return min(os.cpu_count() or 1, _MAX_THREADS)
