"""Put the tables that the benchmarks wrote into the pages of docs/: no number there is typed.

A page says `<!-- results/NAME -->` where the file goes and `<!-- end -->` where it ends.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MARK = re.compile(r"(<!-- (results/[\w.-]+) -->\n).*?(<!-- end -->)", re.S)


def filled(page: str) -> str:
    """Fill a page's marks with the files they name, without the files' titles."""

    def table(match: "re.Match[str]") -> str:
        text = (ROOT / match[2]).read_text(encoding="utf-8")
        if match[2].endswith(".md"):
            text = re.sub(r"\A# .*\n+", "", text)
        else:
            text = f"```\n{text.rstrip()}\n```\n"
        return f"{match[1]}\n{text.strip()}\n\n{match[3]}"

    return MARK.sub(table, page)


def main() -> int:
    """Fill all pages; with --check, say which ones differ and write nothing."""
    stale = 0
    for page in sorted((ROOT / "docs").rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        new = filled(text)
        if new != text:
            stale += 1
            print(page.relative_to(ROOT))
            if "--check" not in sys.argv:
                page.write_text(new, encoding="utf-8")
    return stale if "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
