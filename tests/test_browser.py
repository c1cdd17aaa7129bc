"""The report in a real browser: quiet, readable on a phone, on paper, in the dark, by keyboard and by ear.

Screenshots and a PDF of every page are left in `$GENLEARN_SCREENSHOTS`, if it is set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.reliability.pages import browser as running_browser
from benchmarks.reliability.pages import chromium, violations
from genlearn.compare import compare
from genlearn.data.records import Dataset, Records, as_records
from genlearn.models import GMM, VAE
from genlearn.report import write
from genlearn.report.pictures import save_samples
from genlearn.report.quick import judge_quickly

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium here: install it, or set $CHROMIUM")

DESK, PHONE, PAPER = 1280, 360, 690  # pixels; A4 without margins
PAGES = ("images", "table", "vae", "gmm")


def split_of(records: Records, name: str) -> Dataset:
    parts = [records.take(slice(a, b)) for a, b in ((0, 160), (160, 210), (210, 260))]
    return Dataset(name, *parts, notes=("3 cells were missing.",), summary=f"260 records of {name}")


def digits() -> Dataset:
    from sklearn.datasets import load_digits

    found = load_digits()
    return split_of(as_records(found.images[:260].astype(np.uint8), found.target[:260]), "digits")


def people() -> Dataset:
    rng = np.random.default_rng(0)
    age = rng.integers(18, 80, 260)
    frame = pd.DataFrame({"age": age, "city": rng.choice(["Rome", "Oslo", "Lima"], 260, p=[0.5, 0.3, 0.2])})
    frame["wage"] = 900 + 30 * age + rng.normal(0, 200, 260) + 400 * (frame["city"] == "Oslo")
    frame["club"] = np.where(rng.random(260) < np.where(frame["city"] == "Rome", 0.8, 0.2), "chess", "go")
    frame["since"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, 260), unit="D")
    frame.loc[::9, "wage"] = np.nan
    return split_of(as_records(frame), "people")


@dataclass
class Reports:
    """The browser and the four reports that it opens."""

    browser: Any
    files: dict[str, Path]

    def open(self, name: str, width: int = DESK, **context: Any) -> Any:
        page = self.browser.new_page(viewport={"width": width, "height": 800}, **context)
        page.goto(self.files[name].as_uri())
        return page


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reports]:
    home = tmp_path_factory.mktemp("reports")
    files = {
        "images": compare(digits(), ["vae"], steps=30, out=home / "images").report(),
        "table": compare(people(), [VAE(latent=3)], steps=30, out=home / "table").report(),
    }
    for name, model, data in (("vae", VAE(latent=2, steps=60), digits()), ("gmm", GMM(components=3), people())):
        model.set_params(random_state=0).fit(data, out=home / name).save(home / name)
        save_samples(model, home / name / "samples")
        judge_quickly(model, data, home / name)
        files[name] = write(home / name)
    with running_browser() as browser:
        yield Reports(browser, files)


@pytest.fixture(params=PAGES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# -- the laws of every page --------------------------------------------------------------------------------------------
def test_a_page_asks_for_nothing_and_complains_of_nothing(reports: Reports, name: str) -> None:
    page = reports.browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if request.url[:5] != "data:" else None)
    page.goto(reports.files[name].as_uri())
    assert said == [reports.files[name].as_uri()], "the file itself, and nothing else"
    page.close()


@pytest.mark.parametrize("scheme, width", [("light", DESK), ("dark", PHONE)])
def test_axe_finds_nothing(reports: Reports, name: str, scheme: str, width: int) -> None:
    page = reports.open(name, width, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert violations(page) == []
    page.close()


def test_a_phone_shows_all_without_scrolling_sideways(reports: Reports, name: str) -> None:
    page = reports.open(name, PHONE, has_touch=True)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
    wide = "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, svg, .unseen')"
    wide += f" && e.getBoundingClientRect().right > {PHONE}).map(e => e.outerHTML.slice(0, 80))"
    assert page.evaluate(wide) == [], "only what scrolls in its own box is wider"
    low = "[...document.querySelectorAll('a:not(.skip), summary')].filter(e => e.getBoundingClientRect().height < 44)"
    assert page.evaluate(f"{low}.map(e => e.textContent)") == [], "a finger needs 44 pixels"
    assert page.evaluate(SMALL_TEXT) == [], "no text below 12 pixels, 11 in drawings"
    page.close()


SMALL_TEXT = """
[...document.querySelectorAll('body *')].filter(e => {
  const words = [...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim())
  const drawing = e.closest('svg')
  const scale = drawing ? drawing.getBoundingClientRect().width / drawing.viewBox.baseVal.width : 1
  return words && e.tagName != 'STYLE' && parseFloat(getComputedStyle(e).fontSize) * scale < (drawing ? 10.99 : 11.99)
}).map(e => e.outerHTML.slice(0, 80))
"""


def test_paper_holds_every_section_and_every_explanation(reports: Reports, name: str) -> None:
    import pypdfium2

    page = reports.open(name, color_scheme="dark")
    headings, hidden = page.locator("h2").all_inner_texts(), page.locator("details p, details li").all_text_contents()
    data = page.pdf(format="A4", print_background=True)
    text = " ".join(sheet.get_textpage().get_text_range() for sheet in pypdfium2.PdfDocument(data))
    text = "".join(text.split()).replace("\ufffe", "-")
    for words in (*headings, *hidden):
        assert "".join(words.split())[:40] in text, words
    page.emulate_media(media="print", color_scheme="light")
    page.set_viewport_size({"width": PAPER, "height": 900})
    cut = "[...document.querySelectorAll('.scroll, main, section')].filter(e => e.scrollWidth > e.clientWidth + 1)"
    assert page.evaluate(f"{cut}.map(e => e.outerHTML.slice(0, 90))") == [], "nothing is cut off"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)", "white paper"
    page.close()


def test_the_keyboard_reaches_everything_in_order(reports: Reports, name: str) -> None:
    page = reports.open(name)
    able = "[...document.querySelectorAll('a, summary, [tabindex]')].filter(e => e.checkVisibility())"
    wanted = page.evaluate(f"(window.list = {able}).length")
    reached = []
    for _ in range(wanted):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("list.indexOf(document.activeElement)"))
        ring = page.evaluate("(s => s.outlineStyle + s.outlineWidth)(getComputedStyle(document.activeElement))")
        assert ring == "solid2px", "the place of the keyboard can be seen"
    assert reached == list(range(wanted)), "each once, in the order of the page"
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")
    first = page.locator("summary").first
    first.focus()
    page.keyboard.press("Enter")
    assert first.evaluate("e => e.parentElement.open && e.nextElementSibling.checkVisibility()")
    page.close()


def test_a_screen_reader_finds_its_way(reports: Reports, name: str) -> None:
    page = reports.open(name)
    assert page.title().endswith("· genlearn report")
    assert page.locator("html").get_attribute("lang") == "en"
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(landmark).count() == 1, landmark
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(e => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(np.diff(levels)) <= 1, "no level is skipped"
    unnamed = "[...document.querySelectorAll('table')].filter(t => !t.caption || !t.caption.textContent.trim())"
    assert page.evaluate(f"{unnamed}.length") == 0
    assert page.evaluate("document.querySelectorAll('th:not([scope])').length") == 0
    pictures = page.evaluate(
        "[...document.querySelectorAll('img, svg[role=img]')].map(e => e.alt || e.ariaLabel || '')"
    )
    assert pictures
    assert [p for p in pictures if len(p) < 25] == [], "every picture says what is to be seen"
    drawings = page.evaluate("[...document.querySelectorAll('svg[role=img]')].map(e => e.ariaLabel)")
    assert [d for d in drawings if not any(c.isdigit() for c in d)] == [], "every drawing says numbers"
    assert page.evaluate("document.querySelectorAll('svg:not([role=img]):not([aria-hidden])').length") == 0
    page.close()


def test_nothing_moves_and_nothing_needs_a_script(reports: Reports, name: str) -> None:
    page = reports.open(name, reduced_motion="reduce")
    assert page.evaluate("document.getAnimations().length") == 0
    moving = "[...document.querySelectorAll('*')].filter(e => parseFloat(getComputedStyle(e).transitionDuration))"
    assert page.evaluate(f"{moving}.length") == 0
    plain = reports.open(name, java_script_enabled=False)
    assert plain.locator("main").inner_text() == page.locator("main").inner_text()
    page.close()
    plain.close()


# -- pictures of the pages, for a person to look at --------------------------------------------------------------------
def test_screenshots_show_the_whole_page(reports: Reports, name: str, tmp_path: Path) -> None:
    import pypdfium2
    from PIL import Image

    out = Path(os.environ.get("GENLEARN_SCREENSHOTS", tmp_path))
    out.mkdir(parents=True, exist_ok=True)
    for kind, width, scheme in (("desk", DESK, "light"), ("dark", DESK, "dark"), ("phone", PHONE, "light")):
        page = reports.open(name, width, color_scheme=scheme)
        page.screenshot(path=out / f"{name}-{kind}.png", full_page=True)
        tall = page.evaluate("document.documentElement.scrollHeight")
        with Image.open(out / f"{name}-{kind}.png") as shot:
            assert shot.size == (width, tall)
        page.close()
    page = reports.open(name)
    page.pdf(path=out / f"{name}.pdf", format="A4", print_background=True)
    page.close()
    assert len(pypdfium2.PdfDocument(out / f"{name}.pdf")) >= 2
