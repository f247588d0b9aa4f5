"""The page of a dialogue in a real browser: play, follow, edit, save, hostile texts, length."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright
from support.paths import ROOT
from support.results import result

from pipeline.agreement import agree
from pipeline.exports import FORMATS
from pipeline.exports.page import render_index, render_page
from pipeline.exports.page.page import colours_of, letters_of
from pipeline.exports.rows import label_of
from pipeline.segmentation.annotations import read_annotation

LABELS = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
HOSTILE = [
    "<script>window.bad = 1</script>",
    "</script><script>window.bad = 1</script>",
    "<img src=x onerror='window.bad = 1'>",
    '"><svg onload="window.bad = 1">',
    "javascript:window.bad=1",
    "{{ 7 * 7 }} ${7 * 7} ]]> <!-- \u2028 \\",
]
expect.set_options(timeout=60_000)  # ms; a busy machine draws late


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), os.environ.get("MERC_CHROMIUM"))
    with sync_playwright() as playwright:
        # no path: the browser of `playwright install chromium`
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def view(browser, tmp_path):
    """Render a page, open it, and fail on any error or request to a network."""
    contexts = []

    def view(content, media="dialogue.mp4", context=None, **options):
        path = tmp_path / "talk.merc.html"
        path.write_bytes(render_page(content, media=media, file="talk.merc.json"))
        if not context:
            context = browser.new_context(**options)
            contexts.append(context)
        page = context.new_page()
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("request", lambda r: r.url.startswith("http") and page.errors.append(r.url))
        page.goto(path.as_uri())
        return page

    shutil.copy(ROOT / "examples" / "dialogue.mp4", tmp_path)
    yield view
    for context in contexts:
        for page in context.pages:
            assert not page.errors and page.evaluate("window.bad") is None
        context.close()


def dialogue(texts=("I got the job", "That is wonderful", "Thank you", "What is it?"), gap=4.0):
    spans = [
        (gap * k + 0.25, gap * k + gap - 0.5, "Ann" if k % 2 == 0 else "Ben", text)
        for k, text in enumerate(texts)
    ]
    content = result(spans, LABELS) | {"duration": gap * len(texts)}
    own = {label: round(1 / 7, 4) for label in LABELS}
    for utterance in content["utterances"]:
        reading = {"emotion": "joy", "probabilities": own}
        text = {"present": True, **reading, "without": reading | {"emotion": "fear"}, "shift": 0.1}
        utterance["modalities"] = {"text": text, "visual": {"present": False, "reason": "no face"}}
        utterance |= {"agree": None, "decisive": ["text"], "uncertain": False}
    return content


def rows(page):
    return page.locator("#list button")


def current(page):
    return page.locator("#list button[aria-current=true] .what")


def saved(page):
    with page.expect_download() as download:
        page.get_by_role("button", name="Save JSON").click()
    assert download.value.suggested_filename == "talk.merc.json"
    return json.loads(download.value.path().read_text("utf-8"))


def until(page, expression):
    """Wait until an expression is true.

    Not by page.wait_for_function: its second look is an eval in the page, which the policy forbids.
    """
    for _ in range(600):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"not true within 60 s: {expression}")


def ready(page):
    until(page, "document.getElementById('player').readyState >= 1")


def serious(page):
    found = Axe().run(page).response["violations"]
    return [(v["id"], v["help"]) for v in found if v["impact"] in ("serious", "critical")]


def test_a_click_seeks_and_the_transcript_follows(view):
    content = dialogue()
    for utterance, overlap in zip(content["utterances"], (0.0, 0.95, 0.65, None), strict=True):
        utterance["modalities"]["audio"] = {"present": True, "overlap": overlap}
    page = view(content)
    ready(page)
    expect(page.locator("#blind")).to_be_hidden()
    rows(page).nth(2).click()
    expect(current(page)).to_have_text("Thank you")
    expect(page.locator("#evidence")).not_to_contain_text("at once")
    assert page.evaluate("player.currentTime") == pytest.approx(8.25, abs=0.05)
    page.evaluate("player.currentTime = 5")  # as a user does on the player
    expect(current(page)).to_have_text("That is wonderful")
    evidence = page.locator("#evidence")
    expect(evidence).to_contain_text("Two people probably speak at once here (95 %)")
    expect(evidence).to_contain_text("Text alone says joy. Without text it would be fear.")
    expect(evidence).to_contain_text("visual is missing: no face")
    # on the timeline, four fifths of 16 s
    box = page.locator("#timeline").bounding_box()
    page.locator("#timeline").click(position={"x": 0.8 * box["width"], "y": 5})
    expect(current(page)).to_have_text("What is it?")
    page.get_by_role("button", name="Zoom in").click()
    assert page.locator("#timeline").bounding_box()["width"] > 1.9 * box["width"]


def test_it_follows_while_playing(view):
    page = view(dialogue())
    ready(page)
    page.evaluate("player.muted = true; player.playbackRate = 16; player.play()")
    expect(current(page)).to_have_text("What is it?")


def test_edit_undo_reload_save(view, tmp_path):
    page = view(dialogue())
    context = page.context
    rows(page).nth(1).click()
    page.keyboard.press("5")  # joy
    page.keyboard.press("e")
    page.get_by_label("speaker").fill("Carla")
    page.get_by_label("text").fill("That is <b>great</b>")
    page.get_by_label("start").fill("9")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("alert")).to_have_text("The end must be after the start.")
    page.get_by_label("end").fill("500")
    page.get_by_label("start").fill("4.5")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("alert")).to_contain_text("after the end of the recording")
    page.get_by_label("end").fill("7.5")
    page.get_by_role("button", name="Apply").click()
    expect(current(page)).to_have_text("That is <b>great</b>")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("j")  # joins "Thank you" and "What is it?"
    expect(rows(page)).to_have_count(3)
    page.keyboard.press("u")
    expect(rows(page)).to_have_count(4)

    page.reload()
    expect(page.locator("#state")).to_have_text("Edits of an earlier visit are shown.")
    content = saved(page)
    assert content["edited"] is True
    changed = [u for u in content["utterances"] if u.get("edited")]
    assert [u["edited"] for u in changed] == [
        {"emotion": True, "speaker": True, "text": True, "start": True}
    ]
    assert (changed[0]["emotion"], changed[0]["speaker"]) == ("joy", "Carla")
    assert all("picture" not in u for u in content["utterances"])
    path = tmp_path / "talk.merc.json"
    path.write_text(json.dumps(content))
    assert read_annotation(path)["utterances"][1]["text"] == "That is <b>great</b>"

    page.get_by_role("button", name="Discard edits").click()
    assert [u["text"] for u in saved(page)["utterances"]] == [
        u["text"] for u in dialogue()["utterances"]
    ]
    # edits belong to these labels: another result of the recording does not show them
    other = view(dialogue(("Other words",)), context=context)
    expect(rows(other)).to_have_count(1)


def test_a_corrected_or_confirmed_emotion_is_no_longer_uncertain(view, tmp_path):
    content = dialogue()
    for utterance in content["utterances"]:
        utterance |= {"uncertain": True, "emotion": "joy"}
    page = view(content)
    for row, key in ((0, "1"), (1, "5")):  # neutral, and joy, which it has
        rows(page).nth(row).click()
        page.keyboard.press(key)
    page.keyboard.press("5")
    expect(page.locator("#state")).to_have_text("It has this emotion.")
    rows(page).nth(2).click()
    page.keyboard.press("e")  # another field says nothing on the emotion
    page.get_by_label("text").fill("Thanks")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#list .unsure")).to_have_count(2)
    content = saved(page)
    assert [u["uncertain"] for u in content["utterances"]] == [False, False, True, True]
    assert [u.get("edited") for u in content["utterances"][:2]] == [{"emotion": True}] * 2
    labels = [label_of(u) for u in content["utterances"]]
    assert labels == ["neutral", "joy", "uncertain", "uncertain"]


def test_split_and_join_are_inverse(view):
    page = view(dialogue())
    page.keyboard.press("ArrowDown")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("s")
    expect(rows(page)).to_have_count(5)
    content = saved(page)
    one, other = content["utterances"][1:3]
    assert one["end"] == other["start"] == pytest.approx(6.25, abs=0.05)
    assert f"{one['text']} {other['text']}" == "That is wonderful"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("j")
    again = saved(page)["utterances"]
    assert [(u["start"], u["end"], u["text"]) for u in again] == [
        (u["start"], u["end"], u["text"]) for u in dialogue()["utterances"]
    ]


def test_an_utterance_can_be_deleted(view):
    page = view(dialogue())
    rows(page).nth(1).click()
    page.keyboard.press("Delete")
    expect(rows(page)).to_have_count(3)
    expect(current(page)).to_have_text("Thank you")
    page.keyboard.press("u")
    expect(rows(page)).to_have_count(4)
    rows(page).nth(3).click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(current(page)).to_have_text("Thank you")
    page.reload()  # it stays deleted
    content = saved(page)
    assert content["edited"] is True
    assert [u["text"] for u in content["utterances"]] == [
        u["text"] for u in dialogue()["utterances"][:3]
    ]
    for _ in range(4):
        page.keyboard.press("Delete")
    expect(page.locator("#evidence")).to_have_text("No utterances.")
    page.get_by_role("button", name="Discard edits").click()
    expect(rows(page)).to_have_count(4)


def test_an_utterance_can_be_added(view, tmp_path):
    page = view(dialogue())
    page.evaluate("seek(7.6)")  # after "That is wonderful", until 7.5
    page.get_by_role("button", name="Add utterance").click()
    expect(page.get_by_label("emotion")).to_be_focused()
    page.get_by_role("button", name="Apply").click()  # an emotion must be chosen
    expect(rows(page)).to_have_count(4)
    page.get_by_label("emotion").select_option("fear")
    page.get_by_label("speaker").fill("Carla")
    page.get_by_label("text").fill("Oh no")
    page.get_by_role("button", name="Apply").click()
    expect(rows(page)).to_have_count(5)
    expect(current(page)).to_have_text("Oh no")
    expect(page.locator("#evidence")).to_contain_text("Added by hand")
    page.keyboard.press("ArrowUp")
    expect(current(page)).to_have_text("That is wonderful")
    page.keyboard.press("ArrowDown")
    for key in ("u", "a", "Escape"):  # undo; a form that is left adds nothing
        page.keyboard.press(key)
        expect(rows(page)).to_have_count(4)
    page.evaluate("seek(15.8)")
    page.keyboard.press("a")  # without a mouse
    page.keyboard.press("j")  # chooses joy
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("Well")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(rows(page)).to_have_count(5)

    page.reload()
    expect(rows(page)).to_have_count(5)
    content = saved(page)
    fields = {"start": 15.7, "end": 16, "speaker": "Ben", "text": "Well", "emotion": "joy"}
    added = content["utterances"][4]
    assert added.pop("edited") == dict.fromkeys(fields, True) and content["edited"] is True
    assert added == fields | {"confidence": None, "probabilities": {}, "modalities": {}}
    assert content["utterances"][:4] == dialogue()["utterances"]

    path, first = tmp_path / "talk.merc.json", tmp_path / "first.json"
    path.write_text(json.dumps(saved(page)))
    first.write_text(json.dumps(dialogue()))
    read = read_annotation(path)
    for name, format in FORMATS.items():
        other = tmp_path / f"again.{format.extension}"
        other.write_bytes(format.write(read))
        if name != "rttm":
            last = read_annotation(other)["utterances"][-1]
            assert {key: last[key] for key in fields} == fields
    figures = agree(path, first)
    assert figures["utterances"] == {"a": 5, "b": 4, "pairs": 4}
    expect(rows(view(read))).to_have_count(5)  # a page of the corrected result


def test_an_utterance_can_be_added_where_there_is_none(view):
    page = view(dialogue(()) | {"duration": 16.0})
    page.evaluate("seek(3)")
    page.keyboard.press("a")
    page.keyboard.press("Escape")
    expect(page.locator("#evidence")).to_have_text("No utterances.")
    page.keyboard.press("a")
    page.get_by_label("emotion").select_option("anger")
    page.get_by_role("button", name="Apply").click()
    expect(rows(page)).to_have_count(1)
    made = saved(page)["utterances"][0]
    assert (made["start"], made["end"], made["speaker"]) == (3, 5, "")
    page.keyboard.press("u")
    expect(page.locator("#evidence")).to_have_text("No utterances.")


def test_words_with_times_follow_the_edits(view):
    content = dialogue(("I got the job", "Thank you"))
    for utterance in content["utterances"]:
        start, texts = utterance["start"], utterance["text"].split()
        utterance["words"] = [  # the first half second
            {"start": start + k / 8, "end": start + (k + 1) / 8, "text": text, "probability": 0.9}
            for k, text in enumerate(texts)
        ]
    page = view(content)
    page.evaluate("seek(0.5)")
    page.keyboard.press("s")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("e")
    page.get_by_label("text").fill("Thanks")
    page.get_by_role("button", name="Apply").click()
    one, other, third = saved(page)["utterances"]
    assert (one["text"], other["text"]) == ("I got", "the job")
    assert [[w["text"] for w in u["words"]] for u in (one, other)] == [["I", "got"], ["the", "job"]]
    assert "words" not in third
    page.evaluate("seek(0.3)")
    page.keyboard.press("j")
    joined = saved(page)["utterances"][0]
    assert joined["words"] == content["utterances"][0]["words"]
    assert joined["edited"] == {"end": True, "text": True}
    page.get_by_role("button", name="Discard edits").click()
    page.evaluate("seek(0.3)")
    page.keyboard.press("j")
    every = [word for u in content["utterances"] for word in u["words"]]
    for _ in range(2):
        whole = saved(page)["utterances"][0]
        assert (whole["text"], whole["words"]) == ("I got the job Thank you", every)
        page.reload()


def test_the_keyboard_is_enough(view):
    page = view(dialogue())
    ready(page)
    for key, text in (("ArrowDown", "That is"), ("ArrowDown", "Thank"), ("ArrowUp", "That is")):
        page.keyboard.press(key)
        expect(current(page)).to_contain_text(text)
    page.keyboard.press("e")
    expect(page.get_by_label("emotion")).to_be_focused()
    page.get_by_label("text").press(" ")  # a space in a field does not play
    page.keyboard.press("Escape")
    expect(page.locator("#form")).to_have_count(0)
    assert page.evaluate("player.paused")
    page.evaluate("player.muted = true")
    page.keyboard.press(" ")
    until(page, "!player.paused")
    page.keyboard.press(" ")
    until(page, "player.paused")


def test_hostile_texts_are_only_text(view):
    content = dialogue(HOSTILE)
    for utterance, text in zip(content["utterances"], HOSTILE, strict=True):
        utterance["speaker"] = text
    content |= {"media": HOSTILE[0], "model": HOSTILE[1], "warnings": HOSTILE}
    page = view(content, media=HOSTILE[4])
    for number, text in enumerate(HOSTILE):
        expect(rows(page).nth(number).locator(".what")).to_have_text(text)
    rows(page).nth(1).click()
    page.keyboard.press("e")
    assert page.get_by_label("text").input_value() == HOSTILE[1]
    assert page.locator("script").count() == 3  # data, our own, pictures
    assert saved(page)["utterances"][0]["text"] == HOSTILE[0]
    index = render_index([(HOSTILE[4], content | {"labels": [*LABELS, HOSTILE[2]]})]).decode()
    assert "<script" not in index and "<img" not in index and "<svg" not in index
    assert 'href="javascript%3Awindow.bad%3D1#0"' in index


def test_a_missing_recording_is_stated_and_the_rest_works(view):
    page = view(dialogue(), media="moved.mp4")
    expect(page.locator("#missing")).to_be_visible()
    rows(page).nth(3).click()
    expect(current(page)).to_have_text("What is it?")
    page.keyboard.press("1")
    assert saved(page)["utterances"][3]["emotion"] == "neutral"


def test_no_utterances(view):
    page = view(dialogue(()) | {"warnings": ["no speech found"]})
    expect(page.get_by_text("no speech found")).to_be_visible()
    expect(page.locator("#evidence")).to_have_text("No utterances.")
    for key in ("ArrowDown", "e", "s", "j", "1", "u"):
        page.keyboard.press(key)
    assert saved(page)["utterances"] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(view, scheme):
    page = view(dialogue(), color_scheme=scheme)
    ready(page)
    if scheme == "light":  # the form there, the evidence here
        page.keyboard.press("e")
    assert not serious(page)


def test_narrow_as_a_phone(view):
    page = view(dialogue(), viewport={"width": 360, "height": 740})
    for _ in range(2):  # the evidence, then the form
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.keyboard.press("e")


def test_2000_utterances(view):
    content = dialogue([f"utterance {k}" for k in range(2000)])
    for utterance in content["utterances"]:  # more than the 5 MB that a browser keeps
        utterance["modalities"]["visual"]["boxes"] = [[0.123, 0.1234, 0.1234, 0.1234, 0.1234]] * 100
    page = view(content, media="moved.mp4")  # the example is shorter
    expect(rows(page)).to_have_count(2000)
    page.evaluate("seek(4000.5)")
    expect(current(page)).to_have_text("utterance 1000")
    until(
        page,
        """() => {
          const row = document.querySelector("[aria-current]").getBoundingClientRect();
          const box = document.getElementById("transcript").getBoundingClientRect();
          return row.top >= box.top && row.bottom <= box.bottom + 1;
        }""",
    )
    # following changes two rows, not two thousand
    changes = page.evaluate(
        """() => new Promise((done) => {
          let count = 0;
          const observer = new MutationObserver((list) => { count += list.length; });
          observer.observe(document.getElementById("list"), { subtree: true, childList: true,
            attributes: true });
          seek(4004.5);
          setTimeout(() => { observer.disconnect(); done(count); }, 50);
        })"""
    )
    assert 0 < changes <= 6
    page.keyboard.press("3")
    expect(page.locator("#state")).to_have_text("Edits are kept in this browser.")


def test_the_page_is_one_file_of_the_same_bytes():
    content = dialogue()
    options = {
        "media": "a b#c.mp4",
        "sound": np.linspace(0, 1, 20),
        "pictures": [b"\xff\xd8", None],
    }
    page = render_page(content, **options)
    assert page == render_page(content, **options)
    text = page.decode()
    assert 'src="a%20b%23c.mp4"' in text and "/9g=" in text
    # no address but the name of SVG's vocabulary
    assert set(re.findall(r"(?:https?:)?//\w+[^\s\"'<>]*", text)) <= {
        "http://www.w3.org/1999/xlink"
    }
    assert render_page(content, media="x.wav", video=False).count(b"<audio") == 1


def test_letters_tell_labels_apart():
    assert letters_of(LABELS) == ["N", "Su", "F", "Sa", "J", "D", "A"]
    for labels in (["joy", "joyful", "Joy"], ["calm", "Calm", "cold"], ["joy", "Joy", "joy'"]):
        assert len(set(letters_of(labels))) == 3


def test_colours_tell_labels_apart():
    labels = [*LABELS, "calm", "Calm", *map(str, range(40))]
    colours = colours_of(labels)
    assert len({colour for colour, _ in colours.values()}) == len(labels)
    assert {label: colours[label] for label in LABELS} == colours_of(LABELS)
    for colour, ink in colours.values():
        light, dark = sorted((_luminance(colour), _luminance(ink)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, colour  # WCAG 2.2, 1.4.3


def _luminance(colour):
    if len(colour) == 4:
        colour = "#" + "".join(2 * digit for digit in colour[1:])
    parts = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_index(browser):
    pages = [("a/x.merc.html", dialogue()), ("b/y.merc.html", dialogue(("One", "Two")))]
    pages[1][1]["utterances"][1]["confidence"] = 0.05
    empty = dialogue(()) | {"media": HOSTILE[2], "warnings": ["no speech found", "other"]}
    pages.append(("c/z.merc.html", empty))
    page = browser.new_page()
    page.set_content(render_index(pages).decode())
    first = page.get_by_label("Check these").locator("tbody tr").first
    expect(first).to_contain_text("Two")
    expect(first.get_by_role("link")).to_have_attribute("href", "b/y.merc.html#1")
    silent = page.get_by_label("Without utterances").locator("tbody tr")
    expect(silent.locator("th, td")).to_have_text([HOSTILE[2], "no speech found"])
    expect(silent.get_by_role("link")).to_have_attribute("href", "c/z.merc.html")
    counts = page.get_by_label("Emotions, number of utterances").locator("tbody tr td")
    assert sum(map(int, counts.all_text_contents())) == 6
    changes = page.get_by_label("Transitions").locator("tbody tr td")
    assert sum(map(int, changes.all_text_contents())) == 4
    assert not serious(page)
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_agreement(browser, tmp_path, scheme):
    one, other = dialogue(HOSTILE), dialogue(HOSTILE)
    other["utterances"][1]["emotion"] = HOSTILE[0]  # a label set of its own
    other["utterances"][2]["emotion"] = HOSTILE[3]
    del other["utterances"][5]
    for name, content in (("talk.merc.json", one), ("corrected.json", other)):
        (tmp_path / name).write_text(json.dumps(content))
    shutil.copy(ROOT / "examples" / "dialogue.mp4", tmp_path)
    (tmp_path / "talk.merc.html").write_bytes(render_page(one, media="dialogue.mp4"))
    path = agree(tmp_path / "talk.merc.json", tmp_path / "corrected.json", report=True)["page"]

    context = browser.new_context(color_scheme=scheme, viewport={"width": 360, "height": 740})
    page = context.new_page()
    page.goto(Path(path).as_uri())
    assert page.evaluate("window.bad") is None and page.locator("script, img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert not serious(page)
    figures = page.get_by_role("row", name="same emotion")
    expect(figures).to_contain_text("0.600")
    totals = page.get_by_label("Confusion").locator("tbody tr").last.locator("td")
    assert [int(text) for text in totals.all_text_contents()][-1] == 5
    # every utterance is drawn, and what differs once more
    assert page.locator(".plot g[class^=e] path, .plot g[class^=e] use").count() == 6 + 5
    assert page.locator(".differ path").count() == 2 and page.locator(".alone path").count() == 1
    rows = page.get_by_label("Disagreements").locator("tbody tr")
    expect(rows.nth(1).locator("td")).to_have_text(
        ["talk", "8.2 s", "Ann", HOSTILE[2], "fear", HOSTILE[3]]
    )
    alone = page.get_by_label("Without a partner").locator("tbody td")
    assert alone.all_text_contents()[1::3] == ["20.2 s", "A"]
    rows.nth(1).get_by_role("link").click()  # to the dialogue's page, at that time
    expect(current(page)).to_have_text(HOSTILE[2])
    context.close()
