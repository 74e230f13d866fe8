"""The words of HTML, for chapters and for markup within Markdown. Nothing is fetched, run or shown."""

from __future__ import annotations

from html.parser import HTMLParser

_UNSEEN = frozenset({"script", "style", "template", "title", "rt", "rp"})
_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "body", "br", "caption", "dd", "div", "dl", "dt", "figcaption",
    "figure", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "html", "li", "main", "nav", "ol", "p",
    "pre", "section", "table", "tr", "ul",
})  # fmt: skip
_HEADINGS = ("h1", "h2", "h3")


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.pieces = list[str]()
        self.title, self.heading = "", ""
        self._open = list[str]()
        self._naming = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in _UNSEEN:
            self._open.append(tag)
        self._naming = self._naming or (tag in _HEADINGS and not self.heading.strip())
        self._end_line(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self._end_line(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            del self._open[self._open.index(tag) :]
        self._naming = self._naming and tag not in _HEADINGS
        self._end_line(tag)

    def _end_line(self, tag: str) -> None:
        if tag in _BLOCKS:
            self.pieces.append("\n")
        elif tag in ("td", "th"):
            self.pieces.append("\t")

    def handle_data(self, data: str) -> None:
        text = " ".join(data.split())
        text = (" " if data[:1].isspace() else "") + text + (" " if text and data[-1:].isspace() else "")
        if "title" in self._open:
            self.title += text
        elif not _UNSEEN.intersection(self._open):
            self.pieces.append(text)
            self.heading += text if self._naming else ""


def words(markup: str) -> tuple[str, str]:
    """The text, a line a block, and its name: the first heading, else the title, else nothing."""
    parser = _Words()
    parser.feed(markup)
    parser.close()
    lines = (" ".join(filter(None, line.split(" "))).strip() for line in "".join(parser.pieces).split("\n"))
    name = parser.heading.strip() or parser.title
    return "\n".join(line for line in lines if line), " ".join(name.split())[:200]
