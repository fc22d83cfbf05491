"""Reports say what they were given: as one page that needs nothing else and is sound HTML, and as Markdown."""

import base64
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from worldshift.report.grid import Grid
from worldshift.report.markdown import document
from worldshift.report.page import page
from worldshift.report.section import TALL, Section

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


def test_a_markdown_document_links_its_pictures_from_where_it_stands(picture, tmp_path):
    grid = Grid(("method", "reward"), [("a", "1 [0, 2]")])
    tall = Grid(("m",), [("x",)] * (TALL + 1))
    sections = [
        Section("one", "is it", [("Results", grid)], picture, "said so", "means", ["a note"], ["p", "q"]),
        Section("bare", "what", [("Results", tall)]),
    ]
    text = document("T", "lead", sections, tmp_path / "docs")
    assert text.startswith("# T\n\nlead\n\n- [one](#one): is it\n- [bare](#bare): what\n\n## one\n\nIs it.")
    assert "![is it](../p.png)" in text and "| a | 1 [0, 2] |" in text and "<sub>p<br>q</sub>" in text
    assert [words in text for words in ("Published: said so", "\n\nmeans\n\n", "\n\na note\n\n")] == [True] * 3
    bare = text[text.index("## bare") :]
    assert "Published" not in bare and "![" not in bare and bare.count("<details>") == text.count("<details>") == 1
