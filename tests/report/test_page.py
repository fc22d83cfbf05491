"""The page is one file that needs nothing else, says what it was given, and is sound HTML whatever the words are."""

import base64
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from worldshift.report.grid import Grid
from worldshift.report.page import TALL, Section, page

VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """All text, attributes that name another file, and whether every tag is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "p.png"
    Image.new("RGB", (3, 2), "red").save(path)
    return path


def test_a_page_is_sound_and_needs_nothing_else(picture):
    grid = Grid(("method", "reward"), [("a < b & c", "1 [0, 2]")])
    sections = [
        Section("one two", 'is 1 < 2 & "true"?', [("Results", grid)], picture, "said <b>", "means", ["n"], ["p", "q"]),
        Section("bare", "?", [("Results", Grid(("m",), [("x",)] * (TALL + 1)))]),
    ]
    text = page("T & t", "lead", sections)
    reader = Reader()
    reader.feed(text)
    said = " ".join(reader.words)
    assert reader.open == [] and text.startswith("<!doctype html>")
    for words in ("T & t", 'is 1 < 2 & "true"?', "a < b & c", "said <b>", "means", "What was published"):
        assert words in said
    assert said.count("What it means") == 1, "a section without words has no empty box"
    pictures = [s for s in reader.sources if not s.startswith("#")]
    assert len(pictures) == 1 and base64.b64decode(pictures[0].partition("base64,")[2]) == picture.read_bytes()
    assert {s for s in reader.sources if s.startswith("#")} == {"#one-two", "#bare"}
    assert re.findall(r'id="([^"]+)"', text) == ["one-two", "bare"]
    assert "<script" not in text and "@import" not in text and "url(" not in text
    assert text.count("<details>") == 1, "a long table is folded away, a short one is not"
