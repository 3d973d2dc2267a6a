"""What the site needs beside mkdocs: pages from outside docs/, notebooks, and formulas.

A page of docs/ may link any file of the repository, as a code host shows it. Each file that a page
links becomes a page or a file of the site under the same path, and the link is changed to it.
"""

import json
import posixpath
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import latex2mathml.converter
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.S | re.M)
SHOWN_AS_TEXT = {".yaml", ".txt", ".py", ".toml", ".cfg", ""}
# The start page takes the place of the README, whose links it has.
INSTEAD = {"README.md": "docs/index.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages of docs/ link outside of it, notebooks as pages, and whole boards."""
    pages = [file for file in files if file.is_documentation_page()]
    waiting = [(f"docs/{file.src_uri}", file.content_string) for file in pages]
    notebooks = sorted(DOCS.glob("notebooks/*.ipynb"))
    for notebook in notebooks:
        text = notebook_page(notebook)
        waiting.append((f"docs/notebooks/{notebook.name}", text))
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=text))
    waiting += [("docs/index.md", "[](../CHANGELOG.md) [](../CONTRIBUTING.md)")]
    seen: set[str] = set()
    while waiting:
        source, text = waiting.pop()
        for target in sorted(links(source, text) - seen):
            seen.add(target)
            path = ROOT / target
            if target.startswith("docs/") or target in INSTEAD or not path.is_file():
                continue
            made = outside(config, target)
            files.append(made)
            if path.suffix == ".md":
                waiting.append((target, path.read_text(encoding="utf-8")))
    for path in sorted((ROOT / "results" / "leaderboards").rglob("*")):
        uri = path.relative_to(ROOT).as_posix()
        if path.is_file() and "cells" not in path.parts and not files.get_file_from_path(uri):
            made = outside(config, uri) if path.name == "board.md" else static(config, uri)
            files.append(made)
    return files


def links(source: str, text: str) -> set[str]:
    """Paths in the repository that a page links, code blocks left out."""
    found = LINK.findall(FENCE.sub("", text))
    return {in_repository(source, target) for _, target, _ in found if "://" not in target}


def in_repository(source: str, target: str) -> str:
    """What a page's link means, from the top of the repository."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def outside(config: MkDocsConfig, path: str) -> File:
    """A file of the repository as a page of the site, or as it is."""
    suffix = Path(path).suffix
    if suffix == ".md":
        text = "---\nsearch:\n  exclude: true\n---\n" + (ROOT / path).read_text(encoding="utf-8")
        return File.generated(config, path, content=text)
    if suffix in SHOWN_AS_TEXT:
        language = {".yaml": "yaml", ".py": "python"}.get(suffix, "text")
        text = (ROOT / path).read_text(encoding="utf-8")
        page = f"---\nsearch:\n  exclude: true\n---\n# {path}\n\n```{language}\n{text}\n```\n"
        return File.generated(config, f"{path}.md", content=page)
    return static(config, path)


def static(config: MkDocsConfig, path: str) -> File:
    """A file of the repository, copied as it is."""
    return File.generated(config, path, abs_src_path=str(ROOT / path))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Send links that leave docs/ to the files that stand for them in the site."""
    uri = page.file.src_uri
    source = f"docs/{uri}" if (DOCS / uri).exists() or uri.startswith("notebooks/") else uri

    def sent(match: re.Match[str]) -> str:
        before, target, after = match.groups()
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        path = in_repository(source, target)
        place = INSTEAD.get(path, path).removeprefix("docs/")
        if place.endswith(".ipynb") and not uri.startswith("notebooks/"):
            place = place.removesuffix(".ipynb") + ".md"
        if not files.get_file_from_path(place) and files.get_file_from_path(f"{place}.md"):
            place = f"{place}.md"
        return before + posixpath.relpath(place, posixpath.dirname(uri) or ".") + after

    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [LINK.sub(sent, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, LINK.sub(sent, markdown[end:])])


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Formulas as MathML, which browsers show without a script, and names as users know them."""

    def shown(match: re.Match[str]) -> str:
        display = "block" if match[1] == "div" else "inline"
        return latex2mathml.converter.convert(unescape(match[2].strip()), display=display)

    pattern = r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>'
    html = re.sub(pattern, shown, html, flags=re.S)
    # In docstrings, :class:`~module.Name` is Name.
    html = re.sub(r":\w+:<code>~?(?:\w+\.)*(\w+)</code>", r"<code>\1</code>", html)
    for original, name in re.findall(r"^::: .*\.(\w+)\n.*\n +heading: (\w+)", page.markdown, re.M):
        html = html.replace(f'"nf">{original}<', f'"nf">{name}<')
    return html


def on_post_build(config: MkDocsConfig) -> None:
    """Boards' pages link their Markdown as it is, beside the page that mkdocs makes of it."""
    for path in (ROOT / "results" / "leaderboards").glob("*/board.md"):
        shutil.copy(path, Path(config.site_dir) / path.relative_to(ROOT))


def notebook_page(path: Path) -> str:
    """A notebook as Markdown: its text, its code, and what the code gave."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        parts += [output_of(output) for output in cell["outputs"]]
    download = f"[This page as a notebook]({path.name})"
    heading, rest = "\n\n".join(parts).split("\n", 1)
    return f"{heading}\n\n{download}\n{rest}\n"


def output_of(output: dict[str, Any]) -> str:
    """What a cell of a notebook gave: text in a fence, or a table as HTML."""
    if output["output_type"] == "stream":
        return "```text\n" + "".join(output["text"]).rstrip() + "\n```"
    data = output["data"]
    if "text/html" in data:
        html = re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.S)
        html = html.replace('border="1" class="dataframe"', "")  # the site has a style for tables
        return re.sub(r"\n\s*", "", html)
    return "```text\n" + "".join(data["text/plain"]) + "\n```"
