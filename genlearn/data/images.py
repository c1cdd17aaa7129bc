"""Image files of any mode and mixed sizes into one uint8 array `(n, height, width, channels)`."""

from __future__ import annotations

import contextlib
import io
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..errors import Problem
from .disk import blocks, gather
from .memory import fits, room

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset({
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm",
    ".tga", ".ico", ".avif",
})  # fmt: skip
_KEEP, _LARGEST = 128, 64


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image that has not been read yet: its path for people, and how to get its bytes."""

    path: str
    read: Callable[[], bytes]


@dataclass(slots=True)
class Picture:
    """One decoded image, or why there is none.

    Arguments:
        height: Pixels, upright (after the camera's orientation mark).
        width: Pixels, upright.
        pixels: `(height, width, 3)` or, for grey images, `(height, width)` uint8; None for one too large to keep.
        traits: What was changed: "alpha", "16-bit".
        error: Why it cannot be read; empty if it can.
    """

    height: int = 0
    width: int = 0
    pixels: np.ndarray | None = None
    traits: frozenset[str] = field(default_factory=frozenset)
    error: str = ""


def load_images(
    files: Sequence[ImageFile], size: int | tuple[int, int] | None = None, where: str = "the source"
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Decode images to one size and one number of channels.

    Images that all agree keep their size up to 128 pixels; else the common size is the median height and width, at most
    64, and images are scaled and cropped at the centre. Transparency is laid on white, 16-bit grey is scaled to 8, and the
    result has one channel if every image is grey.

    Arguments:
        files: What to read.
        size: Height and width in pixels; one number for a square; None chooses.
        where: Name of the source, for messages.

    Returns:
        `(n, height, width, channels)` uint8 with channels 1 or 3, the `(n,)` positions in `files` of the readable ones, and
        notes.

    Errors:
        Problem: If none can be read.
    """
    with bombs_refused():
        return _loaded(files, size, where)


@contextlib.contextmanager
def bombs_refused() -> Iterator[None]:
    """Let Pillow raise for images of more than 89 million pixels, and keep its other worries to itself.

    Enter it outside of threads: filters of warnings are of the whole process.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _loaded(
    files: Sequence[ImageFile], size: int | tuple[int, int] | None, where: str
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    few = fits(3 * _KEEP**2 * len(files))  # else only sizes are read at first, and pixels a few images at a time
    pictures = _each(lambda f: _decode(f, None, _KEEP if few else 0), files)
    known = [p for p in pictures if not p.error]
    x, heights, widths = np.empty(0), *(np.array([getattr(p, side) for p in known]) for side in ("height", "width"))
    resized: list[int] = []
    if known:
        shape = _common_size(heights, widths) if size is None else _as_pair(size)
        odd = [max(p.height, p.width) > _KEEP or (p.height, p.width) != shape for p in pictures]
        resized = [i for i, p in enumerate(pictures) if not p.error and odd[i]]
        x = _pixels(files, pictures, shape)
    good = [i for i, p in enumerate(pictures) if not p.error]
    if not good and len(files) == 1:
        raise Problem(f"{files[0].path} cannot be read as an image ({pictures[0].error}). Give another file.")
    if not good:
        first = f"{files[0].path}: {pictures[0].error}"
        raise Problem(f"{where} holds no readable image, {len(files):,} tried ({first}). Replace them.")
    notes = _unreadable(files, pictures)
    if resized := [i for i in resized if not pictures[i].error]:
        notes.append(
            f"{len(resized):,} of {len(good):,} images resized to {shape[0]}x{shape[1]} "
            f"(they are {_range(heights, widths)}{'; --size changes it' if size is None else ''})."
        )
    traits = [t for i in good for t in pictures[i].traits]
    if alpha := traits.count("alpha"):
        notes.append(f"{alpha:,} images with transparency were laid on white.")
    if deep := traits.count("16-bit"):
        notes.append(f"{deep:,} images with 16-bit values were scaled to 8 bits.")
    return x if len(good) == len(x) else gather(x, np.array(good)), np.array(good), notes


def _pixels(files: Sequence[ImageFile], pictures: list[Picture], shape: tuple[int, int]) -> np.ndarray:
    """Return the pixels of all images at one size, reading those that are not there; note in `pictures` what fails."""
    x, colour = room((len(files), *shape, 3), np.uint8), False
    for rows in blocks(len(files), 3 * shape[0] * shape[1]):
        here = range(rows.start, rows.stop)
        to_read = [i for i in here if not pictures[i].error and not _has(pictures[i], shape)]
        for i, picture in zip(to_read, _each(lambda i: _decode(files[i], shape, 0), to_read), strict=True):
            pictures[i] = picture
        for i in here:
            pixels, pictures[i].pixels = pictures[i].pixels, None
            if pixels is not None and not pictures[i].error:
                x[i] = pixels if pixels.ndim == 3 else pixels[..., None]
                colour |= pixels.ndim == 3
    return x if colour else x[..., :1]


def _has(picture: Picture, shape: tuple[int, int]) -> bool:
    return picture.pixels is not None and picture.pixels.shape[:2] == shape


def _each(work: Callable, items: Iterable) -> list[Picture]:
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(work, items))


def _decode(file: ImageFile, shape: tuple[int, int] | None, keep: int) -> Picture:
    """Read one image; scale it to `shape`, or, without one, keep pixels only if both sides are at most `keep`."""
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(file.read())) as image:
            if shape is None and max(image.size) > keep:
                width, height = image.size
                turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
                return Picture(*((width, height) if turned else (height, width)))
            if shape is not None and image.format == "JPEG":
                image.draft(None, (2 * max(shape), 2 * max(shape)))  # decode at a fraction where the file allows it
            upright = ImageOps.exif_transpose(image)
            plain, traits = _plain(upright)
            if shape is not None:
                plain = ImageOps.fit(plain, (shape[1], shape[0]), Image.Resampling.LANCZOS)
    except Exception as e:  # decoders of broken files raise anything
        return Picture(error=why_unreadable(e))
    pixels = np.asarray(plain)
    if pixels.ndim == 3 and (pixels[..., :1] == pixels[..., 1:]).all():
        pixels = pixels[..., 0]
    return Picture(pixels.shape[0], pixels.shape[1], pixels, traits)


def why_unreadable(e: BaseException) -> str:
    """Return in a few words why an image cannot be read."""
    if "decompression bomb" in str(e):
        return f"more pixels than any picture in a data set: {re.sub(r'[^0-9]', '', str(e).partition(')')[0])}"
    return str(e).split("<")[0].strip().rstrip(".") or type(e).__name__


def _plain(image: Image.Image) -> tuple[Image.Image, frozenset[str]]:
    """Return the image in mode L or RGB, and what that changed."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        if image.mode == "F" and values.size and values.max() <= 1:
            values = values * 65535
        elif image.mode == "F" and values.max() <= 255:
            values = values * 257
        return Image.fromarray(np.clip(np.round(values / 257), 0, 255).astype(np.uint8)), frozenset({"16-bit"})
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        layers = image.convert("RGBA")
        if np.asarray(layers.getchannel("A")).min() < 255:
            white = Image.new("RGBA", layers.size, "white")
            return Image.alpha_composite(white, layers).convert("RGB"), frozenset({"alpha"})
        image = layers
    return image.convert("L" if image.mode in ("1", "L") else "RGB"), frozenset()


def _common_size(heights: np.ndarray, widths: np.ndarray) -> tuple[int, int]:
    height, width = float(np.median(heights)), float(np.median(widths))
    same = (heights == heights[0]).all() and (widths == widths[0]).all()
    largest = _KEEP if same else _LARGEST
    shrink = min(1.0, (largest if max(height, width) <= largest else _LARGEST) / max(height, width))
    return max(1, round(height * shrink)), max(1, round(width * shrink))


def _as_pair(size: int | tuple[int, int]) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(s, int) and 1 <= s <= 4096 for s in pair):
        raise Problem(f"--size must be a number of pixels (32) or height and width, not {size!r}.")
    return pair[0], pair[1]


def _unreadable(files: Sequence[ImageFile], pictures: Sequence[Picture]) -> list[str]:
    bad = [f"{f.path} ({p.error})" for f, p in zip(files, pictures, strict=True) if p.error]
    if not bad:
        return []
    rest = f" and {len(bad) - 3:,} more" if len(bad) > 3 else ""
    return [f"unreadable images were left out ({len(bad):,}): {', '.join(bad[:3])}{rest}."]


def _range(heights: np.ndarray, widths: np.ndarray) -> str:
    low, high = f"{heights.min()}x{widths.min()}", f"{heights.max()}x{widths.max()}"
    return low if low == high else f"{low} to {high}"
