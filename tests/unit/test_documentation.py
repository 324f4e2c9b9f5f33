"""The documentation can be found from the README, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for folder in (
        "",
        "docs",
        "docs/decisions",
        "docs/how-to",
        "docs/protocol",
        "docs/protocol/model",
        "docs/reference",
    )
    for path in (ROOT / folder).glob("*.md")
)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target, heading in LINK.findall(_prose(page)):
        to = (page.parent / target).resolve() if target else page
        assert to.exists(), f"{page.name}: {target}"
        if heading and to.suffix == ".md":
            assert heading in _headings(to), f"{page.name}: {target}#{heading}"


@pytest.mark.parametrize("folder", ["docs/how-to", "docs/reference", "docs/protocol"])
def test_each_page_is_in_the_readme(folder: str) -> None:
    linked = {(ROOT / target).resolve() for target, _ in LINK.findall(_prose(ROOT / "README.md"))}
    assert set((ROOT / folder).glob("*.md")) - linked == set()


def _prose(page: Path) -> str:
    """The page without its blocks and pieces of code."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`(?!\])", "", text)


def _headings(page: Path) -> set[str]:
    """The names under which GitHub links to the headings of a page."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "]", title).lower()).replace(" ", "-") for title in titles}
