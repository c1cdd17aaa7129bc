"""PNG, WebP and JPEG by Pillow: real bytes of single pictures and of sheets, and how near a picture comes back."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import uniform_filter

QUALITIES = (0, 1, 2, 5, 10, 20, 30, 50, 70)
LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {"format": "PNG", "optimize": True},
    "WebP": {"format": "WEBP", "lossless": True, "quality": 100, "method": 6},
}
LOSSY: dict[str, dict[str, Any]] = {
    "JPEG": {"format": "JPEG", "optimize": True},
    "WebP": {"format": "WEBP", "method": 6},
}


def encoded(image: np.ndarray, *, bits: int = 8, **how: Any) -> bytes:
    """Return a grey picture as a file; of one bit a pixel where the form knows that."""
    picture = Image.fromarray(image)
    if bits == 1 and how["format"] == "PNG":
        picture = picture.convert("1", dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    picture.save(buffer, **how)
    return buffer.getvalue()


def decoded(data: bytes) -> np.ndarray:
    """Return the grey levels of a file."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"))


def sheet(images: np.ndarray) -> np.ndarray:
    """Return all pictures `(n, h, w)` as one, in rows of about as many as there are columns; blank at the end."""
    n, h, w = images.shape
    across = math.ceil(math.sqrt(n))
    down = math.ceil(n / across)
    full = np.zeros((down * across, h, w), images.dtype)
    full[:n] = images
    return full.reshape(down, across, h, w).swapaxes(1, 2).reshape(down * h, across * w)


def cut(picture: np.ndarray, n: int, h: int, w: int) -> np.ndarray:
    """Undo `sheet`."""
    down, across = picture.shape[0] // h, picture.shape[1] // w
    return picture.reshape(down, h, across, w).swapaxes(1, 2).reshape(-1, h, w)[:n]


def bits_per_pixel(images: np.ndarray, bits: int) -> dict[str, float]:
    """Return bits per pixel of lossless forms: a file for each picture (of the first thousand at most), and one sheet."""
    found, some = {}, images[:1000]
    one = sheet(images)
    for name, how in LOSSLESS.items():
        alone = sum(len(encoded(image, bits=bits, **how)) for image in some)
        found[f"{name}, files"] = 8 * alone / some.size
        data = encoded(one, bits=bits, **how)
        assert np.array_equal(decoded(data), one), f"{name} must be lossless"
        found[f"{name}, one sheet"] = 8 * len(data) / images.size
    return found


def jpeg_head(data: bytes) -> int:
    """Return how many bytes of a JPEG come before its coded pixels: tables and headers."""
    return data.index(b"\xff\xda") + 2


def quality_curves(images: np.ndarray) -> dict[str, list[dict[str, float]]]:
    """Return bytes a picture with PSNR and SSIM of lossy forms: a file for each, the same less JPEG's tables, and one sheet."""
    curves: dict[str, list[dict[str, float]]] = {}
    one = sheet(images)
    for name, how in LOSSY.items():
        for quality in QUALITIES:
            files = [encoded(image, quality=quality, **how) for image in images]
            back = np.stack([decoded(data) for data in files])
            size = sum(map(len, files)) / len(images)
            curves.setdefault(f"{name}, files", []).append(point(size, images, back))
            if name == "JPEG":
                bare = size - sum(map(jpeg_head, files)) / len(images)
                curves.setdefault("JPEG, tables left out", []).append(point(bare, images, back))
            data = encoded(one, quality=quality, **how)
            back = cut(decoded(data), *images.shape)
            curves.setdefault(f"{name}, one sheet", []).append(point(len(data) / len(images), images, back))
    return curves


def point(size: float, images: np.ndarray, back: np.ndarray) -> dict[str, float]:
    """Return one point of a curve: bytes a picture, PSNR over all pixels in dB, mean SSIM."""
    error = float(np.mean((images.astype(float) - back) ** 2))
    return {"bytes": size, "psnr": 10 * math.log10(255**2 / max(error, 1e-9)), "ssim": ssim(images, back)}


def ssim(a: np.ndarray, b: np.ndarray, window: int = 7) -> float:
    """Return the mean structural similarity of grey pictures `(n, h, w)`, 1 for equal ones.

    References:
        Image quality assessment (Wang et al., 2004), https://doi.org/10.1109/TIP.2003.819861
    """
    one, two = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = []
    for i in range(0, len(a), 500):
        x, y = a[i : i + 500].astype(float), b[i : i + 500].astype(float)
        mx, my, xx, yy, xy = (uniform_filter(v, (0, window, window)) for v in (x, y, x * x, y * y, x * y))
        vx, vy, cov = xx - mx * mx, yy - my * my, xy - mx * my
        found.append(((2 * mx * my + one) * (2 * cov + two)) / ((mx**2 + my**2 + one) * (vx + vy + two)))
    return float(np.concatenate(found).mean())
