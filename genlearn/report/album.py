"""Pictures inside the page: as data URIs, all together small enough for a report that is sent by mail."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

BUDGET = 1_900_000  # bytes of all pictures; base64 adds a third, numbers and drawings stay below 400 kB


@dataclass(frozen=True)
class Picture:
    """One embedded picture.

    Arguments:
        uri: Data URI.
        width: Natural width in pixels; half of it where the picture was shrunk is still this.
        height: Natural height.
        alt: The picture in words.
    """

    uri: str
    width: int
    height: int
    alt: str


class Album:
    """Embeds PNG files and keeps them within a common budget: small ones as they are, large ones as WebP, then smaller.

    Arguments:
        paths: All files that may be embedded.
        budget: Bytes that they may take together, before base64.
    """

    def __init__(self, paths: Iterable[Path], budget: int = BUDGET) -> None:
        self.most = fair_share([p.stat().st_size for p in paths if p.is_file()], budget)

    def picture(self, path: Path, alt: str) -> Picture | None:
        """Return the embedded picture, None if there is no such file."""
        from PIL import Image

        if not path.is_file():
            return None
        data, kind = path.read_bytes(), "png"
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            if len(data) > self.most:
                data, kind = _shrunk(image, self.most), "webp"
        return Picture(f"data:image/{kind};base64,{base64.b64encode(data).decode()}", width, height, alt)


def fair_share(sizes: list[int], budget: int) -> int:
    """Return the largest size per file with which all files stay within the budget.

    Example:
        >>> fair_share([10, 10, 500, 500], budget=220)
        100
        >>> fair_share([10, 10], budget=100)
        100
    """
    left = budget
    for k, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - k)
        if size > share:
            return share
        left -= size
    return budget


def _shrunk(image: object, most: int) -> bytes:
    from PIL import Image

    assert isinstance(image, Image.Image)
    for lossless, quality, scale in (
        (True, 80, 1.0),
        (False, 85, 1.0),
        (False, 70, 0.75),
        (False, 60, 0.5),
        (False, 50, 0.33),
        (False, 40, 0.2),
    ):
        small = (
            image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale)))) if scale < 1 else image
        )
        buffer = io.BytesIO()
        small.convert("RGBA").save(buffer, format="WEBP", lossless=lossless, quality=quality)
        if buffer.tell() <= most:
            break
    return buffer.getvalue()
