"""Files as somebody would build them who wishes a decoder ill; what becomes of them is tested."""

from __future__ import annotations

import struct
import zlib

from PIL import Image, ImageChops

from catalog_pipeline_tests.images.drawing import encoded, garment, garment_bytes

PNG_HEAD = 33  # The signature and IHDR.


def chunk(name: bytes, body: bytes = b"") -> bytes:
    """A chunk of PNG with its checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_with(*chunks: bytes, before_end: bytes = b"") -> bytes:
    """A good PNG with more chunks behind its header, or before its end."""
    content = encoded(garment(1), "PNG")
    return (
        content[:PNG_HEAD] + b"".join(chunks) + content[PNG_HEAD:-12] + before_end + content[-12:]
    )


def png_announcing(width: int, height: int, depth: int = 8, colour: int = 6) -> bytes:
    """A PNG of this size by its header, with next to no pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\x00" * 1000))
        + chunk(b"IEND")
    )


def jpeg_with(*segments: bytes, trailing: bytes = b"") -> bytes:
    """A good JPEG with more behind its first marker, or behind its end."""
    content = garment_bytes(1)
    return content[:2] + b"".join(segments) + content[2:] + trailing


def segment(marker: int, body: bytes) -> bytes:
    """A marker segment of JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def webp_announcing(width: int, height: int) -> bytes:
    """A WebP whose canvas is this large, with one frame of nothing."""
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<I", 10) + b"\x02\x00\x00\x00" + canvas
    body += b"ANIM" + struct.pack("<I", 6) + bytes(6)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def gif_announcing(width: int, height: int) -> bytes:
    """A GIF whose screen is this large, with one frame of one pixel."""
    content = encoded(Image.new("P", (1, 1), 0), "GIF")
    return content[:6] + struct.pack("<HH", width, height) + content[10:]


def gif_of_frames(number: int) -> bytes:
    """A GIF whose first frame is a garment, followed by so many of one pixel."""
    content = encoded(garment(1).quantize(64), "GIF")
    tiny = encoded(Image.new("P", (1, 1), 0), "GIF")
    return content[:-1] + tiny[tiny.index(b",") : -1] * number + b";"


def apng_of_frames(number: int) -> bytes:
    """An animated PNG whose first picture is a garment, followed by frames of one pixel."""
    pixel = zlib.compress(b"\x00" * 4)
    frames = b"".join(
        chunk(b"fcTL", struct.pack(">IIIIIHHBB", 2 * n, 1, 1, 0, 0, 1, 1, 0, 0))
        + chunk(b"fdAT", struct.pack(">I", 2 * n + 1) + pixel)
        for n in range(number)
    )
    return png_with(chunk(b"acTL", struct.pack(">II", number, 0)), before_end=frames)


def jpeg_of_scans(number: int, size: tuple[int, int] = (6_000, 6_000)) -> bytes:
    """A progressive JPEG that repeats one scan of a few bytes over all of its many pixels.

    A decoder goes over the whole picture for each: seconds of work for every kilobyte.
    """
    content = encoded(Image.new("L", size, 90), progressive=True, quality=30)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * number + b"\xff\xd9"


def ycck(image: Image.Image) -> bytes:
    """A JPEG in brightness, two colours and black, which Pillow reads but does not write."""
    cyan, magenta, yellow, black = image.convert("CMYK").split()
    planes = Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr").split()
    mixed = Image.merge("CMYK", (*(ImageChops.invert(plane) for plane in planes), black))
    content = encoded(mixed, quality=95, subsampling=0)
    transform = content.index(b"Adobe") + 11
    return content[:transform] + b"\x02" + content[transform + 1 :]


def exif_with(tag: int, kind: int, count: int, value: bytes, entries: int = 1) -> bytes:
    """EXIF of one entry, as often as wanted; `value` is its four bytes."""
    entry = struct.pack("<HHI", tag, kind, count) + value
    directory = struct.pack("<H", entries) + entry * entries + bytes(4)
    return b"Exif\x00\x00II*\x00\x08\x00\x00\x00" + directory
