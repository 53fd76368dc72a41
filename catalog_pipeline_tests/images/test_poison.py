"""Pictures that kill, hang or cheat their worker, beside pictures that deserve a verdict."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from pebble import CONSTS
from pytest_httpserver import HTTPServer
from sqlalchemy import select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import hold_store
from catalog_pipeline.catalog.schema import image_attempts, image_verdicts, images
from catalog_pipeline.files import DataFolder
from catalog_pipeline.images import decode
from catalog_pipeline.images.blobs import blob_name, write_blob
from catalog_pipeline.images.decode import Decoder, DecoderUnavailableError, UndecidedError
from catalog_pipeline.images.measure import Measurements, measure
from catalog_pipeline.images.quality import Issue
from catalog_pipeline.images.sync import UNDECIDED, ImagesReport, sync_images
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline_tests.images.conftest import MakeStore
from catalog_pipeline_tests.images.drawing import garment_bytes
from catalog_pipeline_tests.images.sabotage import (
    once_sabotaged,
    poison,
    refuse_to_start,
    sabotage,
)
from catalog_pipeline_tests.images.test_sync import add_product

LIMIT = 50_000_000
POISONS = {
    "SIGSEGV": "decoding killed its process (exit code -11)",
    "SIGKILL": "decoding killed its process (exit code -9)",
    "SIGBUS": "decoding killed its process (exit code -7)",
    "exit": "decoding killed its process (exit code 3)",
    "abort": "decoding killed its process (exit code -6)",
    "hoard": "decoding needs too much memory",
    "deaf": "decoding took longer than 2 s",
    "loop": "decoding took longer than 2 s",
}


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy this machine is, a worker gets the processor time that it may use."""
    monkeypatch.setattr(decode, "_SHARE_SECONDS", 30.0)
    monkeypatch.setattr(decode, "BUDGET_SECONDS", 60.0)


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("how", POISONS)
def test_a_poison_picture_is_judged_and_so_are_those_in_flight_beside_it(how: str) -> None:
    began = time.monotonic()
    with _sabotaged(workers=2, timeout_seconds=2.0) as decoder:
        bad, good = _together(decoder, [poison(how)], 12)
        after = decoder.measure(garment_bytes(99))
    assert [(found.problem, found.reason) for found in bad] == [("corrupt", POISONS[how])]
    assert good == [measure(garment_bytes(seed), LIMIT) for seed in range(12)]
    assert after == measure(garment_bytes(99), LIMIT)
    assert time.monotonic() - began < 15


@pytest.mark.usefixtures("patience")
def test_many_pictures_that_kill_at_once_cost_no_other_its_verdict() -> None:
    # pebble reports a death before it has read that the picture was taken up, now and then.
    with _sabotaged(workers=3, timeout_seconds=5.0) as decoder:
        bad, good = _together(decoder, [poison("SIGKILL", str(n)) for n in range(8)], 40)
    assert {found.problem for found in bad} == {"corrupt"}
    assert good == [measure(garment_bytes(seed), LIMIT) for seed in range(40)]


def test_a_death_that_leaves_the_workers_pipe_locked_stops_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decode, "_START_SECONDS", 1.5)
    began = time.monotonic()
    with _sabotaged(workers=2, timeout_seconds=2.0) as decoder:
        bad, good = _together(decoder, [poison("lock")], 12)
    assert [found.problem for found in bad] == ["corrupt"]
    assert good == [measure(garment_bytes(seed), LIMIT) for seed in range(12)]
    assert time.monotonic() - began < 15


def test_whatever_a_picture_does_costs_less_than_a_quarter_of_a_minute() -> None:
    # A pool starts in a second, and pebble looks at its workers ten times a second.
    start, look = 1.0, decode._LOOK_SECONDS
    alone = decode.BUDGET_SECONDS + look
    hung = decode.TIMEOUT_SECONDS + decode._SHARE_SECONDS + decode._KILL_SECONDS + look
    assert max(alone, hung) < 15
    # One that dies as late as it can is still blamed, and one that got lost still has all its time.
    assert 2 * decode.TIMEOUT_SECONDS + start <= decode.BUDGET_SECONDS
    lost = decode._START_SECONDS + look + start
    assert lost + decode.TIMEOUT_SECONDS + decode._SHARE_SECONDS <= decode.BUDGET_SECONDS
    # pebble kills what it asked in vain to end.
    assert CONSTS.term_timeout < decode._KILL_SECONDS


@pytest.mark.parametrize(
    ("content", "verdict"),
    [
        (poison("loop"), "decoding took longer than 6 s"),
        (poison("late", "4.5"), "decoding killed its process (exit code -11)"),
        (poison("idle", "60"), None),
    ],
    ids=["busy", "dies late", "idle"],
)
def test_a_picture_costs_that_much_at_most_in_the_decoder_that_stages_use(
    content: bytes, verdict: str | None
) -> None:
    with Decoder(workers=2, function=sabotage) as decoder:
        decoder.measure(garment_bytes(1))
        began = time.monotonic()
        try:
            found: str | None = decoder.measure(content).reason
        except UndecidedError:
            found = None
        assert time.monotonic() - began < 15
        assert decoder.measure(garment_bytes(2)).problem is None
    # On a machine that gives it less of a processor than it needs, nothing is said of any.
    assert found in (verdict, None)


@pytest.mark.usefixtures("patience")
def test_waiting_for_a_processor_is_not_held_against_a_picture() -> None:
    with _sabotaged(workers=2, timeout_seconds=1.0) as decoder:
        bad, _ = _together(decoder, [poison("idle", "3")], 2)
    # The bytes are no picture, which is all that is wrong with them.
    assert bad[0].problem == "corrupt"
    assert "decoding" not in (bad[0].reason or "")


def test_a_picture_that_is_never_measured_in_time_is_nobodys_verdict_and_harms_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decode, "_SHARE_SECONDS", 1.0)
    with _sabotaged(workers=2, timeout_seconds=1.0) as decoder, ThreadPoolExecutor(4) as threads:
        idle = threads.submit(decoder.measure, poison("idle", "60"))
        good = [threads.submit(decoder.measure, garment_bytes(seed)) for seed in range(8)]
        with pytest.raises(UndecidedError, match="may have been too busy"):
            idle.result(60)
        assert [one.result(60).problem for one in good] == [None] * 8


def test_no_second_try_begins_beyond_the_time_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "BUDGET_SECONDS", 0.0)
    with _sabotaged(workers=1, timeout_seconds=2.0) as decoder:
        with pytest.raises(UndecidedError):
            decoder.measure(poison("SIGKILL"))
        assert decoder.measure(garment_bytes(1)).problem is None


def test_a_death_that_was_the_machines_doing_is_not_held_against_a_picture(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    found: list[Measurements] = []
    content = poison("orphan", str(marker))
    with Decoder(workers=2, function=once_sabotaged) as decoder:
        thread = threading.Thread(target=lambda: found.append(decoder.measure(content)))
        thread.start()
        os.kill(_pid_in(marker), signal.SIGKILL)
        thread.join(20)
    assert [one.reason for one in found] == ["measured in peace"]


def test_workers_that_cannot_start_are_nobodys_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_confine", refuse_to_start)
    monkeypatch.setattr(decode, "_FIRST_START_SECONDS", 3.0)
    with Decoder(workers=1) as decoder, pytest.raises(DecoderUnavailableError, match="want of mem"):
        decoder.measure(garment_bytes(1))


def test_a_hung_worker_ends_itself_when_its_run_was_killed(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    script = f"""
from catalog_pipeline.images import decode
from catalog_pipeline_tests.images.sabotage import poison, sabotage
if __name__ == "__main__":
    decode._KILL_SECONDS = 0.5
    with decode.Decoder(workers=1, timeout_seconds=3.0, function=sabotage) as decoder:
        decoder.measure(poison("orphan", "{marker}"))
"""
    path = tmp_path / "run.py"
    path.write_text(script, "utf-8")
    root = Path(__file__).parents[2]
    run = subprocess.Popen([sys.executable, str(path)], env={**os.environ, "PYTHONPATH": str(root)})
    worker = _pid_in(marker)
    run.kill()
    run.wait(10)
    ends = time.monotonic() + 10
    while _is_alive(worker) and time.monotonic() < ends:
        time.sleep(0.05)
    assert not _is_alive(worker)


def _sabotaged(workers: int, timeout_seconds: float) -> Decoder:
    # Small, so that a worker has soon hoarded what it may.
    return Decoder(
        workers=workers,
        timeout_seconds=timeout_seconds,
        max_pixels=1_000_000,
        function=sabotage,
    )


def _pid_in(marker: Path) -> int:
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        if marker.exists():
            return int(marker.read_text("ascii"))
        time.sleep(0.02)
    raise AssertionError("no worker took the picture up")


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").split()[2] != "Z"
    except FileNotFoundError:
        return False


def _together(
    decoder: Decoder, bad: list[bytes], number: int
) -> tuple[list[Measurements], list[Measurements]]:
    """Measure the bad ones among so many good ones, from a few threads."""
    with ThreadPoolExecutor(4) as threads:
        good = [threads.submit(decoder.measure, garment_bytes(seed)) for seed in range(number // 2)]
        worse = [threads.submit(decoder.measure, content) for content in bad]
        good += [
            threads.submit(decoder.measure, garment_bytes(seed))
            for seed in range(number // 2, number)
        ]
        return [one.result(60) for one in worse], [one.result(60) for one in good]


class Shop:
    """A store with some good pictures and some poison, which a real pool decodes."""

    def __init__(
        self, server: HTTPServer, database: Database, files: DataFolder, store: StoreConfig
    ) -> None:
        self.server = server
        self.database = database
        self.files = files
        self.store = store

    def serve(self, contents: dict[str, bytes]) -> None:
        with self.database.write() as connection:
            for number, (path, content) in enumerate(contents.items()):
                self.server.expect_request(path).respond_with_data(content)
                url = self.server.url_for(path)
                add_product(connection, number, url, str(100 + number), {})

    def sync(self, decoder: Decoder, *, refetch: bool = False) -> ImagesReport:
        with hold_store(self.database, self.store.id, "test") as lease:
            return sync_images(lease, self.files, self.store, decoder=decoder, refetch=refetch)

    def verdicts(self) -> Counter[str]:
        with self.database.read() as connection:
            rows = connection.execute(select(image_verdicts.c.issues)).scalars()
            return Counter(issues[0]["issue"] if issues else "accepted" for issues in rows)


@pytest.fixture
def shop(httpserver: HTTPServer, database: Database, tmp_path: Path, make_store: MakeStore) -> Shop:
    return Shop(httpserver, database, DataFolder(str(tmp_path / "data")), make_store())


class WatchedDecoder(Decoder):
    """Remembers what it was asked to decode."""

    def __init__(self) -> None:
        super().__init__(workers=2, timeout_seconds=2.0, function=sabotage, max_pixels=50_000_000)
        self.asked: list[bytes] = []

    def measure(self, content: bytes, max_pixels: int | None = None) -> Measurements:
        self.asked.append(content)
        return super().measure(content, max_pixels)


@pytest.mark.usefixtures("patience")
def test_poison_is_recorded_with_its_reason_and_never_tried_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisons = [poison("SIGSEGV"), poison("loop"), poison("hoard")]
    good = {f"/{seed}.jpg": garment_bytes(seed) for seed in range(10)}
    bad = {f"/bad-{number}.jpg": content for number, content in enumerate(poisons)}
    shop.serve({**bad, **good})
    with WatchedDecoder() as decoder:
        shop.sync(decoder)
        assert shop.verdicts() == {Issue.CORRUPT: 3, "accepted": 10}
        with shop.database.read() as connection:
            reasons = connection.scalars(select(image_verdicts.c.issues)).all()
            attempts = connection.execute(select(image_attempts.c.outcome)).scalars().all()
        assert {issues[0]["measured"] for issues in reasons if issues} == {
            POISONS["SIGSEGV"],
            POISONS["loop"],
            POISONS["hoard"],
        }
        assert set(attempts) == {"fetched"}

        decoder.asked.clear()
        shop.sync(decoder)
        shop.sync(decoder, refetch=True)
        # The same bytes under another name.
        shop.serve({"/copy.jpg": poisons[0]})
        shop.sync(decoder)
        assert decoder.asked == []
        assert shop.verdicts() == {Issue.CORRUPT: 3, "accepted": 10}

        # Another gate measures what is stored again; other bytes are another picture.
        monkeypatch.setattr("catalog_pipeline.images.owed.DECODER", "next")
        monkeypatch.setattr("catalog_pipeline.images.records.DECODER", "next")
        shop.sync(decoder)
        assert set(poisons) <= set(decoder.asked)


def test_a_stored_picture_that_the_disk_changed_is_fetched_again_before_it_is_measured(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.serve({"/a.jpg": garment_bytes(1)})
    with Decoder(workers=1) as decoder:
        shop.sync(decoder)
        sha256, _ = write_blob(shop.files, garment_bytes(1))
        shop.files.write(blob_name(sha256), garment_bytes(2))
        monkeypatch.setattr("catalog_pipeline.images.owed.DECODER", "next")
        monkeypatch.setattr("catalog_pipeline.images.records.DECODER", "next")
        report = shop.sync(decoder)
    assert (report.remeasured, report.fetched) == (0, 1)
    assert shop.files.read(blob_name(sha256)) == garment_bytes(1)
    with shop.database.read() as connection:
        (row,) = connection.execute(select(images)).all()
    assert (row.image_sha256, row.bytes) == (sha256, len(garment_bytes(1)))


class BusyDecoder(Decoder):
    """Decides about nothing while the machine is busy."""

    def __init__(self) -> None:
        super().__init__(workers=1)
        self.is_busy = True

    def measure(self, content: bytes, max_pixels: int | None = None) -> Measurements:
        if self.is_busy:
            raise UndecidedError("too busy")
        return measure(content, max_pixels or LIMIT)


def test_a_picture_that_a_busy_machine_did_not_decode_is_fetched_again_later(shop: Shop) -> None:
    shop.serve({"/a.jpg": garment_bytes(1)})
    decoder = BusyDecoder()
    with time_machine.travel(datetime(2026, 11, 20, tzinfo=UTC)) as clock:
        report = shop.sync(decoder)
        assert (report.fetched, report.failed, report.accepted) == (0, {UNDECIDED: 1}, 0)
        with shop.database.read() as connection:
            assert connection.execute(select(images)).all() == []
        decoder.is_busy = False
        assert shop.sync(decoder).accepted == 0
        clock.shift(timedelta(hours=1, minutes=1))
        report = shop.sync(decoder)
    assert (report.fetched, report.failed, report.accepted) == (1, {}, 1)


def test_a_busy_machine_leaves_the_last_verdict_until_a_picture_is_measured_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.serve({"/a.jpg": garment_bytes(1), "/b.jpg": b"\xff\xd8\xff"})
    decoder = BusyDecoder()
    decoder.is_busy = False
    before = shop.sync(decoder)
    decoder.is_busy = True
    monkeypatch.setattr("catalog_pipeline.images.owed.DECODER", "next")
    monkeypatch.setattr("catalog_pipeline.images.records.DECODER", "next")
    monkeypatch.setattr("catalog_pipeline.images.quality.DECODER", "next")
    report = shop.sync(decoder)
    assert (report.remeasured, report.judged, report.fetched) == (0, 0, 0)
    assert (
        (report.accepted, report.rejected)
        == (before.accepted, before.rejected)
        == (
            1,
            {Issue.CORRUPT: 1},
        )
    )
    decoder.is_busy = False
    report = shop.sync(decoder)
    assert (report.remeasured, report.judged, report.accepted) == (2, 2, 1)
