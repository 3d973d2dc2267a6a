"""What a checkout tells of options in words: comments of properties/, and docs/options.md.

``python -m recbole_enhance.experiment.option_docs`` writes both from the classes of options.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from recbole_enhance.enhancer import ENHANCERS, load_enhancer
from recbole_enhance.experiment.option_table import OptionRow, option_rows
from recbole_enhance.model import MODELS, load_model
from recbole_enhance.options.general import GeneralOptions
from recbole_enhance.options.paths import resource_dir
from recbole_enhance.options.recbole import NESTED, RecBoleModelOptions, RecBoleOptions
from recbole_enhance.options.schema import Options, describe

_COLUMN = 32  # where comments begin, as in RecBole's files
_LINE = re.compile(r"^(?P<indent> *)(?P<key>\w+):(?P<value>(?: [^#]*)?)(?:#.*)?$")


def with_comments(text: str, schemas: Sequence[type[Options]]) -> str:
    """Write type, sentence and range of each option behind its default.

    Args:
        text: A YAML file of options; lines that are comments alone stay.
        schemas: Classes of options; the first that has an option describes it.

    Raises:
        KeyError: If no class describes an option.

    Example:
        >>> print(with_comments("epochs: 3", [RecBoleOptions]))
        epochs: 3                       # (int) Largest number of epochs. Range in [0, 10000000].
    """
    lines: list[tuple[str, str]] = []
    outer = ""
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            lines.append((line, ""))
            continue
        key = found["key"]
        if found["indent"]:
            comment = _comment(NESTED[outer], key)
        else:
            outer = key
            comment = _comment(next(s for s in schemas if key in s.model_fields), key)
        lines.append((f"{found['indent']}{key}:{found['value']}".rstrip(), comment))
    width = max([_COLUMN, *(len(left) + 1 for left, comment in lines if comment)])
    return "\n".join(f"{a:{width}}# {b}" if b else a for a, b in lines)


def _comment(schema: type[Options], key: str) -> str:
    found = describe(schema, key)
    range_ = f" Range in {found.range}." if found.range else ""
    kind = found.type.split()[0]  # as RecBole's files have it: no "or None"
    return f"({kind}) {schema.model_fields[key].description}{range_}"


def commented_files() -> Iterator[tuple[Path, str]]:
    """The files of properties/ that hold options, and what they should be."""
    of_recbole: list[type[Options]] = [RecBoleOptions, RecBoleModelOptions]
    found: list[tuple[Path, Sequence[type[Options]]]] = [
        (Path("overall.yaml"), [GeneralOptions, *of_recbole]),
        *((Path("enhancer", f"{name}.yaml"), [load_enhancer(name).options]) for name in ENHANCERS),
        *(
            (Path("model", f"{name}.yaml"), [load_model(name).options, *of_recbole])
            for name in MODELS
        ),
    ]
    for name, schemas in found:
        path = resource_dir("properties") / name
        yield path, with_comments(path.read_text("utf-8"), schemas) + "\n"


def options_page() -> str:
    """Text of docs/options.md."""
    general = option_rows()
    parts = [
        "<!-- Written by `make docs` from the classes of options; do not edit. -->\n\n# Options\n\n"
        "`recbole-enhance config options --model=NAME` prints the table of one model or method, "
        "and `recbole-enhance config schema --model=NAME` JSON Schema for an editor.\n"
    ]
    for folder, names in (("enhancer", ENHANCERS), ("model", MODELS)):
        for name in names:
            rows = [row for row in option_rows(name) if row.source == f"{folder}/{name}.yaml"]
            parts.append(f"## {name}\n\n{_table(rows)}")
    ours = [row for row in general if row.source == "properties/overall.yaml"]
    parts.append(f"## Every run\n\n{_table(ours)}")
    recboles = [row for row in general if row.source != "properties/overall.yaml"]
    parts.append(f"## RecBole's, of every run\n\n{_table(recboles)}")
    return "\n".join(parts)


def _table(rows: Sequence[OptionRow]) -> str:
    lines = ["| option | type | range | default | |", "|---|---|---|---|---|"]
    for row in rows:
        default = (
            "~"
            if row.default is None
            else yaml.safe_dump(
                row.default, default_flow_style=True, sort_keys=False, width=1000
            ).split("\n")[0]
        )
        cells = [f"`{row.name}`", row.type, row.range, f"`{default}`", row.sentence]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the files of a checkout."""
    for path, text in commented_files():
        path.write_text(text, "utf-8")
    (resource_dir("properties").parent / "docs" / "options.md").write_text(options_page(), "utf-8")


if __name__ == "__main__":
    main()
