"""Every link of a built book, and of the Markdown files beside it, leads somewhere. Links to other hosts are not followed."""

import html.parser
import pathlib
import re
import subprocess
import sys
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name in ("href", "src"):
                self.links.append(value)
            if value and name in ("id", "name"):
                self.anchors.add(value)


def read(path: pathlib.Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def local(link: str) -> urllib.parse.SplitResult | None:
    parts = urllib.parse.urlsplit(link)
    return None if parts.scheme or parts.netloc else parts


def book(folder: pathlib.Path) -> tuple[int, list[str]]:
    pages = {path: read(path) for path in folder.rglob("*.html")}
    dead, seen = [], 0
    for path, page in pages.items():
        if path.name in ("print.html", "404.html", "toc.html"):
            continue
        for link in page.links:
            parts = local(link)
            if parts is None:
                continue
            seen += 1
            target = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            where = path.relative_to(folder)
            if not target.exists():
                dead.append(f"{where}: {link}: no such page")
            elif parts.fragment and target in pages and parts.fragment not in pages[target].anchors:
                dead.append(f"{where}: {link}: no such heading")
    return seen, dead


def markdown() -> tuple[int, list[str]]:
    names = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    dead, seen = [], 0
    for name in names:
        path = ROOT / name
        text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
        for link in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text):
            parts = local(link)
            if parts is None or not parts.path:
                continue
            seen += 1
            if not (path.parent / urllib.parse.unquote(parts.path)).exists():
                dead.append(f"{name}: {link}: no such file")
    return seen, dead


def main() -> int:
    in_book, dead_in_book = book(pathlib.Path(sys.argv[1]).resolve())
    in_markdown, dead_in_markdown = markdown()
    for line in dead_in_book + dead_in_markdown:
        print(line)
    print(f"{in_book + in_markdown} links, {len(dead_in_book) + len(dead_in_markdown)} dead")
    return 1 if dead_in_book or dead_in_markdown or not in_book else 0


sys.exit(main())
