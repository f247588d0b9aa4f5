"""Draw the pictures of docs/: the table of the terminal, the pages, a frame of the annotated video.

Needs Chromium, or that of `playwright install chromium`. The recordings are those of the index
besides the example dialogue.

    python examples/make_pictures.py docs [RECORDING ...]
"""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
import tempfile
from contextlib import chdir
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console

import merc
from pipeline.cli.tables import show_utterances
from pipeline.media.decode import open_media
from pipeline.reporting import write_index, write_overlay, write_page

EXAMPLE = Path(__file__).with_name("dialogue.mp4")
SHOWN = 5  # the utterance of which the evidence is seen
WIDE, PHONE = (1280, 960), (390, 844)  # pixels
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main(docs: Path, others: list[Path]) -> None:
    labeller = merc.Labeller(min_confidence=0.5)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder, pages = Path(name), []
        for source in (EXAMPLE, *others):
            recording = Path(shutil.copy(source, folder))
            result = labeller.label(recording)
            content, base = result.to_dict(), folder / recording.stem
            result.save(f"{base}.merc.json")
            pages.append((write_page(content, recording, base), content))
        index, (page, content) = write_index(folder, pages), pages[0]
        program = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        link = f"{page.as_uri()}#{SHOWN}"
        shoot(browser, link, docs / "page-light.png")
        shoot(browser, link, docs / "page-dark.png", dark=True)
        shoot(browser, link, docs / "page-edit.png", keys="2e", whole=False)
        shoot(browser, link, docs / "page-phone.png", size=PHONE, whole=False)
        shoot(browser, index.as_uri(), docs / "page-index.png")
        with chdir(folder):  # the page shows the paths as they are given
            correct(content, Path("corrected.json"))
            found = merc.agree("dialogue.merc.json", "corrected.json", report=True)
            address = Path(found["page"]).absolute().as_uri()
        shoot(browser, address, docs / "page-agreement.png")
        browser.close()

        middle = sum(content["utterances"][SHOWN][edge] for edge in ("start", "end")) / 2
        with open_media(write_overlay(content, EXAMPLE, folder / "dialogue")) as media:
            frame = next(image for time, image in media.frames() if time >= middle)
        Image.fromarray(frame).save(docs / "overlay.jpg", quality=88)
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
    show_utterances(sure(content), console)
    console.print("wrote dialogue.merc.json", highlight=False)
    picture = console.export_svg(title="merc label dialogue.mp4")
    # without the fonts that it would load from elsewhere
    picture = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    (docs / "label.svg").write_text(picture, "utf-8")


def shoot(
    browser: Browser,
    url: str,
    path: Path,
    *,
    size: tuple[int, int] = WIDE,
    dark: bool = False,
    keys: str = "",
    whole: bool = True,
) -> None:
    """Open a page, press keys, and save its picture.

    whole: the whole page instead of its first view.
    """
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    page.goto(url)
    if page.locator("#player").count():
        while not page.evaluate("player.readyState >= 2 && !player.seeking"):
            page.wait_for_timeout(100)  # wait_for_function needs an eval, which the page forbids
    for key in keys:
        page.keyboard.press(key)
    page.wait_for_timeout(500)  # the controls of the player fade
    page.evaluate("scrollTo(0, 0)")
    image = Image.open(io.BytesIO(page.screenshot(full_page=whole)))
    image.convert("RGB").save(path, optimize=True)
    context.close()


def sure(content: dict) -> dict:
    """Return the result without --min-confidence."""
    return content | {"utterances": [u | {"uncertain": False} for u in content["utterances"]]}


def correct(content: dict, path: Path) -> None:
    """Write what an annotator might have said about the dialogue."""
    utterances = [dict(utterance) for utterance in sure(content)["utterances"]]
    utterances[1]["emotion"], utterances[5]["emotion"] = "surprise", "anger"
    utterances[4]["emotion"] = "sadness"
    path.write_text(json.dumps(content | {"utterances": utterances[:-1], "edited": True}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
