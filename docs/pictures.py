"""Renew the pictures of these pages: `genlearn demo --out runs/digits`, then `python -m docs.pictures runs/digits`.

They are taken from the report of that run by the machine's Chromium.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.reliability.pages import browser

IMAGES = Path(__file__).parent / "images"
WIDTH = 1180
SHOTS = {
    "demo-report": ("body", 1500),
    "digits-samples": ("#samples", 920),
    "digits-latent": ("#latent-space", 760),
}  # of pixels


def main(run: str) -> None:
    """Write every picture from the report in a run folder."""
    with browser() as chrome:
        page = chrome.new_page(viewport={"width": WIDTH, "height": 1500})
        page.goto((Path(run) / "report.html").resolve().as_uri())
        for name, (selector, height) in SHOTS.items():
            box = page.locator(selector).bounding_box()
            clip = {"x": 0, "y": box["y"], "width": WIDTH, "height": min(height, box["height"])}
            page.screenshot(path=IMAGES / f"{name}.png", clip=clip, full_page=True)


if __name__ == "__main__":
    main(sys.argv[1])
