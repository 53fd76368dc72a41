"""Good files of every format, changed in seeded ways: each ends as a verdict or a reason."""

from __future__ import annotations

import random
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from catalog_pipeline.images.decode import Decoder
from catalog_pipeline.images.measure import Measurements
from catalog_pipeline.images.pictures import UnreadablePictureError, load_thumbnail
from catalog_pipeline.images.quality import judge
from catalog_pipeline.stores import QualityThresholds
from catalog_pipeline_tests.images.drawing import encoded, garment, garment_bytes, load_rgb

# Warnings are for those who wrote a file.
pytestmark = pytest.mark.filterwarnings("ignore::Warning:PIL")

FILES_PER_WAY = 100
TIMEOUT_SECONDS = 4.0
MAX_PIXELS = 2_000_000
EXTREMES = (0, 1, 2, 3, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def _seeds(picture: str) -> list[bytes]:
    """A few good files of a format, with the metadata and the kinds of pixels it has."""
    image = garment(1, (96, 120))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8769] = 6, "maker", {0x9003: "2026:01:01 00:00:00"}
    extras: dict[str, object] = {"exif": exif.tobytes(), "icc_profile": b"profile" * 40}
    moving: dict[str, object] = {
        "save_all": True,
        "append_images": [garment(2, (96, 120)), garment(3, (96, 120))],
        "duration": 100,
    }
    alpha = image.convert("RGBA")
    alpha.putalpha(image.convert("L"))
    return {
        "jpeg": lambda: [
            encoded(image, "JPEG", **extras),
            encoded(image, "JPEG", progressive=True, restart_marker_blocks=4),
            encoded(image.convert("CMYK"), "JPEG"),
            encoded(image, "MPO", save_all=True, append_images=[garment(2, (96, 120))]),
        ],
        "png": lambda: [
            encoded(image, "PNG", **extras),
            encoded(image.quantize(16), "PNG", transparency=3, dpi=(300, 300)),
            encoded(alpha, "PNG"),
            encoded(image, "PNG", **moving),
        ],
        "webp": lambda: [
            encoded(image, "WEBP", **extras),
            encoded(alpha, "WEBP", lossless=True),
            encoded(image, "WEBP", **moving),
        ],
        "gif": lambda: [
            encoded(image.quantize(32), "GIF", comment=b"made here"),
            encoded(image, "GIF", **moving),
        ],
    }[picture]()


def _parts(content: bytes) -> list[bytes]:
    """A file cut where its format cuts it, so that what is changed gets past the first check."""
    if content.startswith(b"\xff\xd8"):
        cuts, at = [2], 2
        while content[at + 1] != 0xDA:
            at += 2 + struct.unpack(">H", content[at + 2 : at + 4])[0]
            cuts.append(at)
    elif content.startswith(b"GIF"):
        cuts = [13, *(n for n in range(13, len(content)) if content[n : n + 2] in _BLOCKS)]
    else:
        is_png = content.startswith(b"\x89PNG")
        cuts, at = [], 8 if is_png else 12
        while at < len(content):
            cuts.append(at)
            if is_png:
                at += 12 + struct.unpack(">I", content[at : at + 4])[0]
            else:
                at += 8 + (struct.unpack("<I", content[at + 4 : at + 8])[0] + 1) // 2 * 2
    ends = [*cuts[1:], len(content)]
    return [content[: cuts[0]], *(content[a:b] for a, b in zip(cuts, ends, strict=True))]


_BLOCKS = (b"\x21\xf9", b"\x21\xff", b"\x21\xfe", b"\x2c\x00")


def flipped(content: bytes, chance: random.Random) -> bytes:
    """A few bits turned, most of them near the front, where what is said weighs most."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 16)):
        reach = chance.choice((64, 700, len(changed)))
        changed[chance.randrange(min(reach, len(changed)))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def truncated(content: bytes, chance: random.Random) -> bytes:
    """Cut short, or with a piece missing in the middle."""
    first, second = sorted(chance.sample(range(3, len(content)), 2))
    return content[:second] if chance.random() < 0.5 else content[:first] + content[second:]


def shuffled(content: bytes, chance: random.Random) -> bytes:
    """The format's own pieces in another order, some twice, some not at all."""
    head, *parts = _parts(content)
    chosen = [part for part in parts for _ in range(chance.choice((0, 1, 1, 1, 2)))]
    chance.shuffle(chosen)
    return head + b"".join(chosen)


def resized(content: bytes, chance: random.Random) -> bytes:
    """A length or a size that lies."""
    head, *parts = _parts(content)
    number = chance.randrange(len(parts))
    width, order = chance.choice((1, 2, 3, 4)), chance.choice(("big", "little"))
    value = chance.choice(EXTREMES) % (1 << 8 * width)
    lie = value.to_bytes(width, "big" if order == "big" else "little")
    part = parts[number]
    at = chance.randrange(max(1, min(20, len(part) - width)))
    parts[number] = part[:at] + lie + part[at + width :]
    return head + b"".join(parts)


def spliced(content: bytes, chance: random.Random, other: bytes) -> bytes:
    """The beginning of one file and the end of another, or one in the middle of the other."""
    at = chance.randrange(3, len(content))
    begin = chance.randrange(len(other))
    if chance.random() < 0.5:
        return content[:at] + other[begin:]
    return content[:at] + other[begin : begin + chance.randint(1, 2_000)] + content[at:]


WAYS: tuple[Callable[[bytes, random.Random], bytes], ...] = (flipped, truncated, shuffled, resized)


def mutants(picture: str) -> list[bytes]:
    """The same ones every time."""
    chance = random.Random(f"{picture} 1")
    seeds = _seeds(picture)
    strangers = [seed for other in FORMATS for seed in _seeds(other)]
    found = [way(chance.choice(seeds), chance) for way in WAYS for _ in range(FILES_PER_WAY)]
    found += [
        spliced(chance.choice(seeds), chance, chance.choice(strangers))
        for _ in range(FILES_PER_WAY)
    ]
    return found


FORMATS = ("jpeg", "png", "webp", "gif")


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(workers=2, timeout_seconds=TIMEOUT_SECONDS, max_pixels=MAX_PIXELS) as found:
        yield found


@pytest.mark.parametrize("picture", FORMATS)
def test_every_mutant_ends_as_a_verdict_or_a_reason(decoder: Decoder, picture: str) -> None:
    def timed(content: bytes) -> tuple[Measurements, float]:
        began = time.monotonic()
        return decoder.measure(content), time.monotonic() - began

    contents = mutants(picture)
    assert len(set(contents)) > 4 * FILES_PER_WAY
    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(timed, contents))
    ends: Counter[str] = Counter()
    for content, (found, seconds) in zip(contents, results, strict=True):
        ends[found.problem or "measured"] += 1
        assert found.bytes == len(content)
        assert (found.problem is None) == (found.sharpness is not None) == (found.reason is None)
        assert found.reason is None or (found.reason.isprintable() and len(found.reason) < 300)
        assert seconds < 15
        judge(found, QualityThresholds(), is_placeholder=False)
        if found.problem is None:
            try:
                image = load_rgb(content)
            except UnreadablePictureError:
                # The gate leaves colour out where it can, so it may see less.
                ends["not in colour"] += 1
                continue
            assert (image.mode, *image.size) == ("RGB", found.width, found.height)
            small = load_thumbnail(content, 32)
            assert (small.mode, max(small.size)) == ("RGB", min(32, max(image.size)))
    # The mutants are neither all broken at the first byte nor all harmless.
    assert ends["corrupt"] > 10
    assert ends["measured"] > 10
    assert ends["not in colour"] < ends["measured"] / 10
    assert decoder.measure(garment_bytes(1)).problem is None
