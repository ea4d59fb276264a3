"""The page's files: served as they are, small, and without anything that the policy or a reader would stumble over."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tenure.web.pages import STATIC

MAX_LINES = 350
SCRIPTS = sorted(STATIC.glob("js/*.js"))
STYLES = sorted(STATIC.glob("style/*.css"))
FILES = [STATIC / "index.html", STATIC / "icon.svg", *SCRIPTS, *STYLES]

# What a job says must never become markup, and nothing may come from elsewhere.
MARKUP = (
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function|createContextualFragment"
)
ELSEWHERE = r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[\w-]+\.\w"
INLINE = r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+="


def test_there_is_a_page() -> None:
    assert SCRIPTS
    assert STYLES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_are_small_and_load_nothing_from_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    assert re.findall(ELSEWHERE, text) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_make_no_markup_of_text(path: Path) -> None:
    assert re.findall(MARKUP, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_imports_lead_to_files_and_names_that_exist(path: Path) -> None:
    for names, module in re.findall(r'^import \{([^}]*)\} from "\./([\w.]+)";', path.read_text("utf-8"), re.MULTILINE):
        exporting = (path.parent / module).read_text("utf-8")
        for name in filter(None, map(str.strip, names.split(","))):
            assert re.search(rf"^export (?:async )?(?:function\*?|const|class) {name}\b", exporting, re.MULTILINE), name


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_every_import_is_used(path: Path) -> None:
    text = path.read_text("utf-8")
    imported = [
        name.strip() for names in re.findall(r"^import \{([^}]*)\}", text, re.MULTILINE) for name in names.split(",")
    ]
    assert [name for name in imported if len(re.findall(rf"(?<!\w)(?<!\w\.){name}\b", text)) < 2] == []


def test_the_document_has_nothing_inline() -> None:
    text = (STATIC / "index.html").read_text(encoding="utf-8")
    assert re.findall(INLINE, text) == []
    for path in re.findall(r'(?:src|href)="/static/([^"]+)"', text):
        assert (STATIC / path).is_file(), path


def test_both_dark_palettes_are_the_same() -> None:
    """They are written twice: for the system's wish and for the choice on the page."""
    text = (STATIC / "style" / "base.css").read_text(encoding="utf-8")
    palettes = re.findall(r"color-scheme: dark;(.*?)\}", text, re.DOTALL)
    first, second = ([line.strip() for line in palette.split(";")] for palette in palettes)
    assert first == second
