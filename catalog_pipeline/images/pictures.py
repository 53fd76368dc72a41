"""Unknown bytes as a Pillow image: what counts as a picture, and how it becomes RGB.

The format is told from the content, never from a name or a header. Nothing here limits time, and
memory only where many threads decode at once; for bytes that nothing has vouched for, use
`decode.py`.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from PIL import ExifTags, GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin
from PIL import WebPImagePlugin as WebpImagePlugin

from catalog_pipeline.errors import PermanentError

# The plug-ins themselves, not `Image.open`: what a format is stays decided by `picture_format`, a
# phone's MPO is read as the JPEG that it begins with, and the size can be looked at before any
# limit is applied.
_PLUGINS: Final[dict[str, type[ImageFile.ImageFile]]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebpImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
}
_TRANSPOSE: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIXTEEN_BIT_MODES: Final = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I"})


# The most that a store can allow, and what all threads of `held_rgb` hold at one time: some 3 GB.
_MOST_PIXELS: Final = 200_000_000


class UnreadablePictureError(PermanentError):
    """The bytes are not a picture that can be decoded."""


class _Budget:
    """Pixels that threads may hold at one time; a thread waits until its picture fits."""

    def __init__(self, pixels: int) -> None:
        self._left = pixels
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._left >= pixels)
            self._left -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._left += pixels
                self._changed.notify_all()


_decoding = _Budget(_MOST_PIXELS)


def picture_format(content: bytes) -> str | None:
    """The supported format that the bytes claim to be in: jpeg, png, webp or gif."""
    if content.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    return None


def webp_canvas(content: bytes) -> tuple[int, int] | None:
    """Width and height that a WebP file's first chunk announces; None where that is none of its.

    https://developers.google.com/speed/webp/docs/riff_container and RFC 6386, 9649.
    """
    chunk = content[12:16]
    if len(content) < 30:
        return None
    if chunk == b"VP8X":
        return _little(content[24:27]) + 1, _little(content[27:30]) + 1
    if chunk == b"VP8L":
        packed = _little(content[21:25])
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 ":
        return _little(content[26:28]) & 0x3FFF, _little(content[28:30]) & 0x3FFF
    return None


def printable(text: str) -> str:
    """Text from a stranger's file without the characters that databases and terminals refuse."""
    return "".join(c if c.isprintable() else "?" for c in text)


def open_picture(content: bytes, picture: str) -> ImageFile.ImageFile:
    """Read the header only.

    Args:
        content: the whole file.
        picture: its format as `picture_format` gave it.

    Raises:
        Exception: whatever Pillow raises for a broken header.
    """
    return _PLUGINS[picture](io.BytesIO(content))


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where it is absent or unreadable."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - metadata is the stranger's, and no reason to lose the picture
        return 1
    return value if isinstance(value, int) and value in _TRANSPOSE else 1


def flattened(image: Image.Image) -> Image.Image:
    """The image as L or RGB: transparency on white, 16 bits as 8, palettes and CMYK resolved."""
    if image.mode in _SIXTEEN_BIT_MODES:
        # A plain conversion would clip everything above 255 to white.
        image = image.point(lambda value: value * (1 / 256)).convert("L")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, (255, 255, 255))
        canvas.paste(layer, mask=layer.getchannel("A"))
        return canvas
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def load_thumbnail(content: bytes, side: int) -> Image.Image:
    """An accepted picture, upright, in RGB and its longer side at most `side`.

    Raises as `held_rgb` does.
    """
    # Decoded at twice the size, a picture keeps what a finer filter then makes of it.
    with held_rgb(content, least_side=2 * side) as image:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        return image


@contextmanager
def held_rgb(content: bytes, least_side: int | None = None) -> Iterator[Image.Image]:
    """An accepted picture, upright and in RGB, for as long as the block lasts.

    Safe to call from many threads: one waits while what the others hold leaves no room for its
    picture.

    Args:
        content: its bytes.
        least_side: where given, a JPEG need not be decoded at its full size, which costs several
            times as much, but at an eighth, a quarter or a half whose sides are at least this.

    Raises:
        UnreadablePictureError: it cannot be decoded, which an accepted picture can.
    """
    picture = picture_format(content)
    if picture is None:
        raise UnreadablePictureError("the bytes are in no supported picture format")
    try:
        opened = open_picture(content, picture)
    except Exception as error:
        raise _unreadable(picture, error) from error
    with opened:
        pixels = opened.width * opened.height
        if pixels > _MOST_PIXELS:
            raise UnreadablePictureError(f"the {picture} has over {_MOST_PIXELS} pixels")
        with _decoding.taken(pixels):
            try:
                if least_side is not None:
                    opened.draft(None, (least_side, least_side))
                image = _upright_rgb(opened)
            except Exception as error:
                raise _unreadable(picture, error) from error
            yield image


def _unreadable(picture: str, error: Exception) -> UnreadablePictureError:
    return UnreadablePictureError(f"the {picture} cannot be decoded: {printable(str(error))}")


def _upright_rgb(opened: ImageFile.ImageFile) -> Image.Image:
    opened.load()
    turn = _TRANSPOSE.get(orientation(opened))
    image = flattened(opened)
    if turn is not None:
        image = image.transpose(turn)
    # A copy where nothing was converted: the opened file is closed on leaving.
    return image.convert("RGB")


def _little(octets: bytes) -> int:
    return int.from_bytes(octets, "little")
