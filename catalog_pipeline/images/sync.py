"""The images stage: fetch what is owed, keep the bytes, measure them once, judge them.

Order of writes: blob, then the image's measurements and the attempt in one transaction, then the
verdict. A stage that dies anywhere does the rest the next time and nothing twice. Requests are made
in `download.py`, decoding in `decode.py`; which questions make work owed is in `owed.py`.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.lease import StoreLease
from catalog_pipeline.catalog.queries import count_accepted
from catalog_pipeline.catalog.schema import image_attempts, image_verdicts, images
from catalog_pipeline.catalog.wanted import Scope
from catalog_pipeline.files import DataFolder
from catalog_pipeline.images.blobs import DamagedBlobError, has_blob, read_blob, write_blob
from catalog_pipeline.images.decode import Decoder, UndecidedError
from catalog_pipeline.images.download import Download, Downloader
from catalog_pipeline.images.measure import Measurements
from catalog_pipeline.images.owed import (
    Ask,
    OwedFetch,
    count_fetches,
    is_measured,
    owed_fetches,
    owed_measurements,
    owed_verdicts,
    placeholder_images,
)
from catalog_pipeline.images.quality import gate_version, judge
from catalog_pipeline.images.records import (
    Fetched,
    attempt_row,
    forget_fetches,
    image_row,
    record_gate,
)
from catalog_pipeline.images.standing import Standing, standing
from catalog_pipeline.images.streams import batches, workers
from catalog_pipeline.stores import StoreConfig

Progress = Callable[[int, int], None]

# Images recorded in one transaction: what a crash makes the next run fetch again, at most.
_BATCH = 64
# A run asks for no more pictures once it took half an hour and this much for each besides: slow
# hosts must not keep a run's place from the other stores. The next run goes on.
_SLOW_START_SECONDS = 1_800.0
_SLOWEST_SECONDS = 2.0
_BATCH_SECONDS = 2.0
# The reason recorded for a picture that came, but about which its decoder could not say anything.
UNDECIDED = "not decoded in time"


@dataclass(frozen=True)
class ImagesReport(Standing):
    """What one run did, and how the store's wanted images stand after it, in distinct URLs.

    `accepted_distinct` counts the different pictures behind the accepted URLs: what is embedded.
    Of the run: `fetched` pictures of `bytes`, `unchanged` ones (304), `postponed` ones whose host
    stopped answering, `left` ones owed beyond `max_images_per_run` or beyond what hosts gave in
    the time that a run has for it, `remeasured` and `judged` ones,
    `requests`, `retries` (attempts after a URL's first), `seconds`.
    """

    store_id: str
    gate_version: str
    accepted_distinct: int
    fetched: int
    unchanged: int
    postponed: int
    left: int
    remeasured: int
    judged: int
    bytes: int
    requests: int
    retries: int
    seconds: float


class _StoppedError(Exception):
    """A thread was waiting between attempts when the stage gave up."""


@dataclass(slots=True)
class _Tally:
    fetched: int = 0
    unchanged: int = 0
    postponed: int = 0
    left: int = 0
    remeasured: int = 0
    judged: int = 0
    bytes: int = 0
    requests: int = 0
    retries: int = 0

    def add(self, found: Fetched) -> None:
        self.fetched += found.download.outcome == "fetched"
        self.unchanged += found.download.outcome == "unchanged"
        self.postponed += found.download.outcome == "postponed"
        self.bytes += found.size
        self.requests += found.download.requests
        self.retries += found.download.retries


def sync_images(
    lease: StoreLease,
    files: DataFolder,
    store: StoreConfig,
    *,
    decoder: Decoder | None = None,
    product_id: UUID | None = None,
    refetch: bool = False,
    progress: Progress | None = None,
    on_new_picture: Callable[[], None] | None = None,
    sleep: Callable[[float], None] | None = None,
) -> ImagesReport:
    """Bring a store's images up to what its products want and its gate says.

    Args:
        lease: the right to write the store.
        files: where the bytes are kept.
        store: what to want of whom.
        decoder: the processes that decode, made for at least the store's `max_pixels`; a pool of
            this call's own if there is none.
        product_id: only the pictures of this product.
        refetch: ask for every wanted picture again, whatever is known of it.
        progress: called with URLs asked and URLs owed.
        on_new_picture: called, from any thread, for each picture that came and was never measured.
        sleep: waits between attempts of one URL.

    Raises:
        LeaseLostError: another writer has taken the store over.
        ServiceUnavailableError: the database was lost.
        DecoderUnavailableError: no worker process can be started.
        ConfigurationError: the store's `ca_file` cannot be used.
        OSError: the data folder cannot be written.
    """
    began = time.monotonic()
    gate = gate_version(store.quality)
    tally = _Tally()
    with _decoding(decoder, store) as decoding:
        scope = Scope.of(store, product_id)
        stage = _Stage(lease, files, store, scope, decoding, tally, on_new_picture)
        stage.remeasure()
        stage.fetch(progress, sleep, refetch=refetch)
        stage.judge(gate)
    with lease.database.read() as connection:
        # Of the store, whatever the run was for, or its numbers would fall to one product's.
        stands = standing(connection, Scope.of(store))
        accepted_distinct = count_accepted(connection, Scope.of(store))
    return ImagesReport(
        store_id=store.id,
        gate_version=gate,
        accepted_distinct=accepted_distinct,
        seconds=round(time.monotonic() - began, 3),
        **dataclasses.asdict(stands),
        **dataclasses.asdict(tally),
    )


class _Taken:
    """How many pictures a run asked for, where it may ask for a limited number, and not for ever.

    One whose host stopped answering is not asked for: it must not keep others out run after run.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._number = 0
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self.is_too_slow = False

    def bound(self, owed: Iterator[OwedFetch]) -> Iterator[OwedFetch]:
        for one in owed:
            with self._lock:
                if self._limit is not None and self._number >= self._limit:
                    return
                allowed = _SLOW_START_SECONDS + self._number * _SLOWEST_SECONDS
                self.is_too_slow = time.monotonic() - self._began > allowed
                if self.is_too_slow:
                    return
                self._number += 1
            yield one

    def give_back(self) -> None:
        with self._lock:
            self._number -= 1


@contextmanager
def _decoding(decoder: Decoder | None, store: StoreConfig) -> Iterator[Decoder]:
    if decoder is not None:
        yield decoder
        return
    with Decoder(max_pixels=store.quality.max_pixels) as own:
        yield own


@dataclass(frozen=True, slots=True)
class _Stage:
    """The collaborators of one run over one store."""

    lease: StoreLease
    files: DataFolder
    store: StoreConfig
    scope: Scope
    decoder: Decoder
    tally: _Tally
    on_new_picture: Callable[[], None] | None
    # Contents that are owed a measurement still, so that no verdict may be made of an older one.
    undecided: set[str] = dataclasses.field(default_factory=set)

    def remeasure(self) -> None:
        """Measure stored bytes again that another decoder measured or a limit kept undecoded."""

        def work(sha256: str) -> tuple[str, Measurements | None]:
            try:
                content = read_blob(self.files, sha256)
                return sha256, self.decoder.measure(content, self.store.quality.max_pixels)
            except UndecidedError:
                self.undecided.add(sha256)
            except (FileNotFoundError, DamagedBlobError):
                pass
            return sha256, None

        owed = owed_measurements(self.lease.database, self.store, self.scope)
        with workers(self.store.connections) as threads:
            for batch in batches(threads.map(work, owed), _BATCH, _BATCH_SECONDS):
                lost = [one for one, found in batch if found is None and one not in self.undecided]
                rows = [image_row(sha256, found) for sha256, found in batch if found]
                with self.lease.write() as connection:
                    upsert(connection, images, rows)
                    forget_fetches(connection, self.store.id, lost)
                self.tally.remeasured += len(rows)

    def fetch(
        self,
        progress: Progress | None,
        sleep: Callable[[float], None] | None,
        *,
        refetch: bool,
    ) -> None:
        """Ask every owed URL, or as many as a run may, and record what came of it."""
        database = self.lease.database
        ask = Ask(self.store, self.scope, datetime.now(UTC), refetch)
        with database.read() as connection:
            owed_now = count_fetches(connection, ask)
        limit = self.store.max_images_per_run
        total = owed_now if limit is None else min(owed_now, limit)
        self.tally.left = owed_now - total
        if not total:
            return

        def pause(seconds: float) -> None:
            if threads.stopped.wait(seconds):
                raise _StoppedError

        taken = _Taken(limit)

        def work(owed: OwedFetch) -> Fetched:
            found = self._fetch_one(downloader, owed, unconditionally=refetch)
            if found.download.outcome == "postponed":
                taken.give_back()
            return found

        done = 0
        with (
            Downloader(self.store, sleep=sleep or pause) as downloader,
            workers(self.store.connections) as threads,
        ):
            found = threads.map(work, taken.bound(owed_fetches(database, ask)))
            for batch in batches(found, _BATCH, _BATCH_SECONDS):
                self._record(batch)
                done += len(batch)
                if progress is not None:
                    progress(done, total)
        if taken.is_too_slow:
            self.tally.left = max(owed_now - done, 0)

    def judge(self, gate: str) -> None:
        """Give a verdict of this gate to every wanted image that has none."""
        with self.lease.database.read() as connection:
            placeholders = placeholder_images(connection, self.store.id)
        recorded = False
        for page in owed_verdicts(self.lease.database, self.scope, gate, placeholders):
            now = datetime.now(UTC)
            rows = []
            for image in page:
                if image.image_sha256 in self.undecided:
                    continue
                verdict = judge(
                    image.measurements,
                    self.store.quality,
                    is_placeholder=image.image_sha256 in placeholders,
                )
                rows.append(
                    {
                        "store_id": self.store.id,
                        "image_sha256": image.image_sha256,
                        "gate_version": gate,
                        "accepted": verdict.accepted,
                        "issues": list(verdict.issues),
                        "judged_at": now,
                    }
                )
            if not rows:
                continue
            with self.lease.write() as connection:
                if not recorded:
                    record_gate(connection, self.store, gate)
                    recorded = True
                upsert(connection, image_verdicts, rows)
            self.tally.judged += len(rows)

    def _fetch_one(
        self, downloader: Downloader, owed: OwedFetch, *, unconditionally: bool
    ) -> Fetched:
        # An answer 304 is of use only while the bytes that it vouches for are here.
        known = (
            not unconditionally
            and owed.image_sha256 is not None
            and has_blob(self.files, owed.image_sha256)
        )
        download = downloader.fetch(
            owed.url,
            etag=owed.etag if known else None,
            last_modified=owed.last_modified if known else None,
        )
        content = download.content
        if content is None:
            return Fetched(owed, download)
        sha256, was_kept = write_blob(self.files, content)
        limit = self.store.quality.max_pixels
        with self.lease.database.read() as connection:
            measured = is_measured(connection, sha256, limit)
        if self.on_new_picture is not None and not measured:
            self.on_new_picture()
        try:
            measurements = None if measured else self.decoder.measure(content, limit)
        except UndecidedError:
            # The bytes are fetched again when this attempt is due again.
            failed = dataclasses.replace(download, outcome="failed", reason=UNDECIDED)
            return Fetched(owed, dataclasses.replace(failed, content=None))
        return Fetched(
            owed, _without_content(download), sha256, len(content), measurements, was_kept
        )

    def _record(self, batch: list[Fetched]) -> None:
        now = datetime.now(UTC)
        # By key: the same content may have come from several URLs.
        measured = {
            found.image_sha256: image_row(found.image_sha256, found.measurements)
            for found in batch
            if found.image_sha256 and found.measurements
        }
        attempts = [
            attempt_row(self.store, found, now)
            for found in batch
            if found.download.outcome != "postponed"
        ]
        with self.lease.write() as connection:
            upsert(connection, images, list(measured.values()))
            upsert(connection, image_attempts, attempts)
        # Until the record was written, nothing kept others from pruning what was there already.
        kept = {found.image_sha256 for found in batch if found.was_kept and found.image_sha256}
        lost = [sha256 for sha256 in kept if not has_blob(self.files, sha256)]
        if lost:
            with self.lease.write() as connection:
                forget_fetches(connection, self.store.id, lost)
        for found in batch:
            self.tally.add(found)


def _without_content(download: Download) -> Download:
    return Download(
        download.outcome,
        etag=download.etag,
        last_modified=download.last_modified,
        requests=download.requests,
        retries=download.retries,
    )
