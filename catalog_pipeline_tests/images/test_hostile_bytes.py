"""What becomes of bytes that are no picture, half a picture, or far more than a picture."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import hold_store
from catalog_pipeline.catalog.schema import images
from catalog_pipeline.images import decode
from catalog_pipeline.images.decode import Decoder
from catalog_pipeline.images.measure import measure
from catalog_pipeline.images.pictures import UnreadablePictureError
from catalog_pipeline.images.quality import Issue, judge
from catalog_pipeline.images.records import image_row
from catalog_pipeline.stores import QualityThresholds
from catalog_pipeline_tests.images.drawing import encoded, garment, garment_bytes, load_rgb
from catalog_pipeline_tests.images.hostile import (
    apng_of_frames,
    chunk,
    exif_with,
    gif_announcing,
    gif_of_frames,
    jpeg_of_scans,
    jpeg_with,
    png_announcing,
    png_with,
    segment,
    webp_announcing,
    ycck,
)

ACCEPTED = "accepted"
SECONDS = 30.0
ESCAPES = "\x1b]0;owned\x07\x1b[2J"

UNSUPPORTED = Issue.UNSUPPORTED_FORMAT
CORRUPT = Issue.CORRUPT
PIXELS = Issue.TOO_MANY_PIXELS
ASPECT = Issue.EXTREME_ASPECT

SCRIPT = b"<script>fetch('//evil.example')</script>"
ZIP = b"PK\x03\x04" + bytes(26) + b"PK\x05\x06" + bytes(18)
GHOST = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 300 300\n(x) print\n"
ICO = b"\x00\x00\x01\x00\x01\x00\x20\x20\x00\x00\x01\x00\x20\x00\x10\x00\x00\x00\x16\x00\x00\x00"


def noise(picture: str) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), picture)


@cache
def bomb() -> bytes:
    return zlib.compress(b"a" * 100_000_000, 9)


def broken(content: bytes, where: float, by: bytes) -> bytes:
    at = int(len(content) * where)
    return content[:at] + by + content[at + len(by) :]


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(garment(1), exif=exif.tobytes(), quality=90)


def sixteen_bit() -> bytes:
    grey = np.asarray(garment(1).convert("L")).astype(np.uint16) * 257
    return encoded(Image.fromarray(grey), "PNG")


def jpeg_of_icc(profile: bytes) -> bytes:
    return encoded(garment(1), icc_profile=profile)


Build = Callable[[], bytes]

# Case, file, verdict. The gate's thresholds are those of a store that sets none.
CASES: list[tuple[str, Build, str]] = [
    # No picture at all.
    ("nothing", lambda: b"", UNSUPPORTED),
    ("one byte", lambda: b"\xff", UNSUPPORTED),
    ("zeros", lambda: bytes(100_000), UNSUPPORTED),
    ("HTML", lambda: b"<!DOCTYPE html><html><body>404</body></html>", UNSUPPORTED),
    ("SVG", lambda: b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', UNSUPPORTED),
    ("SVG in XML", lambda: b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "b">]>', UNSUPPORTED),
    ("JSON", lambda: b'{"code":"rest_no_route"}', UNSUPPORTED),
    ("ZIP", lambda: ZIP, UNSUPPORTED),
    ("PDF", lambda: b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n", UNSUPPORTED),
    ("a data URL", lambda: b"data:image/png;base64,iVBORw0KGgo=", UNSUPPORTED),
    # Pictures of formats that are not served; no decoder may be tried on them.
    ("TIFF", lambda: encoded(garment(1), "TIFF"), UNSUPPORTED),
    ("big-endian TIFF", lambda: b"MM\x00\x2a" + bytes(64), UNSUPPORTED),
    ("BMP", lambda: encoded(garment(1), "BMP"), UNSUPPORTED),
    ("ICO", lambda: ICO + encoded(garment(1).resize((32, 32)), "PNG"), UNSUPPORTED),
    ("PSD", lambda: b"8BPS\x00\x01" + bytes(20), UNSUPPORTED),
    ("EPS", lambda: GHOST, UNSUPPORTED),
    ("EPS for DOS", lambda: b"\xc5\xd0\xd3\xc6" + bytes(26) + GHOST, UNSUPPORTED),
    ("JPEG 2000", lambda: encoded(garment(1), "JPEG2000"), UNSUPPORTED),
    ("AVIF", lambda: b"\x00\x00\x00\x20ftypavif" + bytes(64), UNSUPPORTED),
    ("HEIC", lambda: b"\x00\x00\x00\x20ftypheic" + bytes(64), UNSUPPORTED),
    ("JPEG XL", lambda: b"\xff\x0a" + bytes(64), UNSUPPORTED),
    ("WAV in RIFF", lambda: b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(32), UNSUPPORTED),
    ("MNG", lambda: b"\x8aMNG\r\n\x1a\n" + bytes(64), UNSUPPORTED),
    ("a byte before the picture", lambda: b"\n" + garment_bytes(1), UNSUPPORTED),
    # Parts of pictures.
    ("JPEG's first marker", lambda: b"\xff\xd8\xff", CORRUPT),
    ("PNG's signature", lambda: b"\x89PNG\r\n\x1a\n", CORRUPT),
    ("WebP's header", lambda: b"RIFF\x1a\x00\x00\x00WEBPVP8 ", CORRUPT),
    ("GIF's signature", lambda: b"GIF89a", CORRUPT),
    ("half a JPEG", lambda: noise("JPEG")[: len(noise("JPEG")) // 2], CORRUPT),
    ("a JPEG without its end", lambda: noise("JPEG")[:-400], CORRUPT),
    ("half a PNG", lambda: noise("PNG")[: len(noise("PNG")) // 2], CORRUPT),
    ("half a WebP", lambda: noise("WEBP")[: len(noise("WEBP")) // 2], CORRUPT),
    ("half a GIF", lambda: noise("GIF")[: len(noise("GIF")) // 2], CORRUPT),
    ("a GIF without a frame", lambda: b"GIF89a\x90\x01\x90\x01\x00\x00\x00;", CORRUPT),
    ("a PNG without pixels", lambda: png_announcing(400, 400), CORRUPT),
    ("a PNG whose pixels are damaged", lambda: broken(noise("PNG"), 0.5, bytes(64)), CORRUPT),
    ("an arithmetic JPEG's marker", lambda: b"\xff\xd8" + segment(0xC9, bytes(15)), CORRUPT),
    # Pixels.
    ("a PNG of 3.6 gigapixels", lambda: png_announcing(60_000, 60_000), PIXELS),
    ("a PNG one pixel over", lambda: png_announcing(50_000_001, 1), PIXELS),
    ("a PNG of the longest sides", lambda: png_announcing(2**31 - 1, 2**31 - 1), PIXELS),
    ("a PNG of longer sides than PNG has", lambda: png_announcing(2**32 - 1, 1), CORRUPT),
    ("a PNG of no width", lambda: png_announcing(0, 400), CORRUPT),
    ("a GIF of 4 gigapixels", lambda: gif_announcing(65_535, 65_535), PIXELS),
    ("a WebP of 268 megapixels", lambda: webp_announcing(16_383, 16_383), PIXELS),
    ("a WebP of 2**48 pixels", lambda: webp_announcing(2**24, 2**24), PIXELS),
    (
        "50 megapixels in 49 kB",
        lambda: encoded(Image.new("L", (10_000, 5_000)), "PNG"),
        Issue.BLANK,
    ),
    ("a line of 49 megapixels", lambda: encoded(Image.new("L", (49_000_000, 1)), "PNG"), ASPECT),
    ("a stripe", lambda: encoded(garment(1).resize((4_000, 200)), "PNG"), ASPECT),
    ("a tracking pixel", lambda: gif_announcing(1, 1), Issue.TOO_SMALL),
    # Frames.
    ("a GIF of 10,000 frames", lambda: gif_of_frames(10_000), ACCEPTED),
    ("an animated PNG of 10,000 frames", lambda: apng_of_frames(10_000), ACCEPTED),
    (
        "an animated PNG of no frames",
        lambda: png_with(chunk(b"acTL", bytes(8))),
        ACCEPTED,
    ),
    # Colours.
    ("CMYK as Adobe inverts it", lambda: encoded(garment(1).convert("CMYK"), quality=90), ACCEPTED),
    ("YCCK", lambda: ycck(garment(1)), ACCEPTED),
    ("grey", lambda: encoded(garment(1).convert("L")), ACCEPTED),
    ("grey with transparency", lambda: encoded(garment(1).convert("LA"), "PNG"), ACCEPTED),
    ("16 bits", sixteen_bit, ACCEPTED),
    ("1 bit", lambda: encoded(garment(1).convert("1"), "PNG"), ACCEPTED),
    ("a palette", lambda: encoded(garment(1).quantize(64), "PNG"), ACCEPTED),
    (
        "a palette with transparencies",
        lambda: encoded(garment(1).quantize(64), "PNG", transparency=b"\xff" * 63 + b"\x00"),
        ACCEPTED,
    ),
    ("a palette in GIF", lambda: encoded(garment(1).quantize(64), "GIF"), ACCEPTED),
    ("RGB with transparency", lambda: encoded(garment(1).convert("RGBA"), "WEBP"), ACCEPTED),
    # Orientation.
    *((f"turned by EXIF {turn}", lambda turn=turn: turned(turn), ACCEPTED) for turn in range(1, 9)),
    ("turned by EXIF 0", lambda: turned(0), ACCEPTED),
    ("turned by EXIF 60,000", lambda: turned(60_000), ACCEPTED),
    # Metadata.
    ("a zTXt bomb", lambda: png_with(chunk(b"zTXt", b"k\x00\x00" + bomb())), CORRUPT),
    ("an iTXt bomb", lambda: png_with(chunk(b"iTXt", b"k\x00\x01\x00\x00\x00" + bomb())), CORRUPT),
    ("an iCCP bomb", lambda: png_with(chunk(b"iCCP", b"k\x00\x00" + bomb())), CORRUPT),
    (
        "200 texts that are large together",
        lambda: png_with(chunk(b"zTXt", b"k\x00\x00" + zlib.compress(b"a" * 900_000)) * 200),
        CORRUPT,
    ),
    ("100,000 unknown chunks", lambda: png_with(chunk(b"abCd") * 100_000), ACCEPTED),
    ("100,000 comments", lambda: jpeg_with(segment(0xFE, b"") * 100_000), ACCEPTED),
    ("a profile of 10 MB", lambda: jpeg_of_icc(b"x" * 10_000_000), ACCEPTED),
    ("a profile that is none", lambda: png_with(chunk(b"iCCP", b"k\x00\x00junk")), ACCEPTED),
    (
        "a profile out of order",
        lambda: jpeg_with(segment(0xE2, b"ICC_PROFILE\x00\x09\x02")),
        ACCEPTED,
    ),
    ("EXIF of nothing", lambda: jpeg_with(segment(0xE1, b"Exif\x00\x00")), ACCEPTED),
    (
        "EXIF of 5,000 values of 4 GB",
        lambda: jpeg_with(segment(0xE1, exif_with(0x010F, 2, 2**32 - 1, bytes(4), 5_000))),
        ACCEPTED,
    ),
    (
        "EXIF that leads back to itself",
        lambda: jpeg_with(segment(0xE1, exif_with(0x8769, 4, 1, b"\x08\x00\x00\x00"))),
        ACCEPTED,
    ),
    (
        "EXIF of 60 kB",
        lambda: jpeg_with(segment(0xE1, b"Exif\x00\x00MM" + b"\xff" * 60_000)),
        ACCEPTED,
    ),
    # Polyglots: the picture is a picture, and nothing else is ever made of it.
    ("a JPEG and a ZIP", lambda: garment_bytes(1) + ZIP, ACCEPTED),
    ("a JPEG that comments in HTML", lambda: jpeg_with(segment(0xFE, SCRIPT)), ACCEPTED),
    ("a PNG and HTML", lambda: encoded(garment(1), "PNG") + SCRIPT, ACCEPTED),
    ("a GIF and a script", lambda: encoded(garment(1), "GIF") + b"*/=1;alert(1)", ACCEPTED),
    ("a GIF that is a script", lambda: b"GIF89a/*" + SCRIPT + b"*/=1;", CORRUPT),
    ("HTML that calls itself GIF", lambda: b"GIF89a" + SCRIPT * 100, CORRUPT),
    ("EPS in a JPEG's comment", lambda: jpeg_with(segment(0xFE, GHOST)), ACCEPTED),
]


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(workers=2, timeout_seconds=SECONDS) as found:
        yield found


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize(
    ("build", "verdict"), [row[1:] for row in CASES], ids=[c[0] for c in CASES]
)
def test_the_verdict_on_each_kind_of_bytes(decoder: Decoder, build: Build, verdict: str) -> None:
    content = build()
    found = decoder.measure(content)
    issues = judge(found, QualityThresholds(), is_placeholder=False).issues
    assert (issues[0]["issue"] if issues else ACCEPTED) == verdict
    assert found.reason is None or (
        found.reason.isprintable() and "longer than" not in found.reason
    )
    if verdict == ACCEPTED:
        # What the gate lets through, the threads that embed can decode as well.
        image = load_rgb(content)
        assert (image.mode, *image.size) == ("RGB", found.width, found.height)
        colours = np.asarray(image.resize((8, 10)).resize((64, 64)).convert("L")).mean()
        assert colours == pytest.approx(194, abs=6)
    elif found.problem in ("unsupported", "corrupt"):
        with pytest.raises(UnreadablePictureError):
            load_rgb(content)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_no_other_decoder_is_ever_loaded_and_no_program_started(tmp_path: Path) -> None:
    started = tmp_path / "started"
    for name in ("gs", "gswin64c", "djpeg", "ffmpeg"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\ntouch {started}\n", "utf-8")
        program.chmod(0o755)
    files = [row[1]() for row in CASES if row[2] == UNSUPPORTED]
    for number, content in enumerate(files):
        (tmp_path / f"{number}.bin").write_bytes(content)
    script = """
import sys
from pathlib import Path
from catalog_pipeline.images.measure import measure
from catalog_pipeline.images.pictures import UnreadablePictureError
from catalog_pipeline_tests.images.drawing import load_rgb
for path in Path(sys.argv[1]).glob("*.bin"):
    assert measure(path.read_bytes(), 50_000_000).problem == "unsupported", path
    try:
        load_rgb(path.read_bytes())
    except UnreadablePictureError:
        continue
    raise AssertionError(path)
print(*sorted(name for name in sys.modules if name.endswith("ImagePlugin")))
"""
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(tmp_path)],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    loaded = {
        name.removeprefix("PIL.").removesuffix("ImagePlugin") for name in answer.stdout.split()
    }
    # TIFF's module reads EXIF; it is no reader of files here.
    assert loaded <= {"Jpeg", "Png", "WebP", "Gif", "Tiff"}
    assert not started.exists()


def test_a_repeated_scan_is_cut_off_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_SHARE_SECONDS", 30.0)
    # 36 megapixels gone over 2,000 times: minutes for a decoder that is let.
    content = jpeg_of_scans(2_000)
    assert len(content) < 1_000_000
    with Decoder(workers=1, timeout_seconds=1.0) as decoder:
        found = decoder.measure(content)
        after = decoder.measure(garment_bytes(1))
    assert (found.problem, found.reason) == ("corrupt", "decoding took longer than 1 s")
    assert after.problem is None


def test_whatever_a_header_announces_can_be_recorded_on_both_databases(
    any_database: Database,
) -> None:
    cases = (
        png_announcing(2**32 - 1, 2**32 - 1),
        png_announcing(2**31 - 1, 2**31 - 1),
        webp_announcing(2**24, 2**24),
        png_with(b"\x00\x00\x00\x04\x00\x1b[2JJUNK\x00\x00\x00\x00"),
    )
    rows = [image_row(f"{n:064x}", measure(content, 50_000_000)) for n, content in enumerate(cases)]
    with hold_store(any_database, "atelier", "test") as lease, lease.write() as connection:
        upsert(connection, images, rows)
        kept = connection.execute(images.select().order_by(images.c.image_sha256)).all()
    assert [row.measurements["problem"] for row in kept] == [
        "corrupt",
        "too many pixels",
        "too many pixels",
        "corrupt",
    ]


def escaping() -> dict[str, bytes]:
    """Pictures that carry a terminal's commands wherever a picture carries text."""
    raw = ESCAPES.encode()
    padded = raw + bytes(-len(raw) % 4)
    exif = Image.Exif()
    exif[0x010E] = exif[0x010F] = exif[0x9286] = ESCAPES
    name = padded[:4]
    return {
        "text of PNG": png_with(chunk(b"tEXt", raw + b"\x00" + raw)),
        "profile name of PNG": png_with(chunk(b"iCCP", raw + b"\x00\x07junk")),
        "chunk name of PNG": png_with(b"\x00\x00\x00\x00" + name + bytes(4)),
        "EXIF": encoded(garment(1), exif=exif.tobytes()),
        "broken EXIF": jpeg_with(segment(0xE1, exif_with(0x010F, 2, 900, padded[:4]))),
        "comment of JPEG": jpeg_with(segment(0xFE, raw)),
        "comment of GIF": encoded(garment(1), "GIF", comment=raw),
        "not a picture": raw,
        "after a signature": b"\x89PNG\r\n\x1a\n" + raw * 4,
    }


@pytest.mark.parametrize("where", escaping())
def test_nothing_that_a_picture_holds_reaches_a_terminal_unescaped(
    where: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    content = escaping()[where]
    said: list[str] = []
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found = measure(content, 50_000_000)
        try:
            load_rgb(content)
        except UnreadablePictureError as error:
            said.append(str(error))
    said += [str(warning.message) for warning in warned]
    said += [record.getMessage() for record in caplog.records]
    said += [str(found.reason), *capfd.readouterr()]
    assert not [text for text in said if "\x1b" in text or "\x07" in text]
