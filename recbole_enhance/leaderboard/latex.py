"""``board.tex``: the tables as LaTeX."""

from collections.abc import Sequence

from recbole_enhance.leaderboard import wording
from recbole_enhance.leaderboard.analysis import Analysis
from recbole_enhance.leaderboard.measures import FAMILIES
from recbole_enhance.leaderboard.texts import verdicts
from recbole_enhance.leaderboard.wording import DASH, MINUS
from recbole_enhance.options.read import one_line

_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    DASH: "--",
    "±": r"$\pm$",
    MINUS: "$-$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
    "△": r"$\triangle$",
    "▽": r"$\triangledown$",
    "∞": r"$\infty$",
    "<": r"$<$",
    ">": r"$>$",
}


def latex(analyses: Sequence[Analysis]) -> str:
    """``board.tex``: a table for each family; needs booktabs and amssymb."""
    lines = ["% Written by recbole-enhance leaderboard build. Needs booktabs, amssymb."]
    for analysis in analyses:
        of = verdicts(analysis)
        for family, title in FAMILIES.items():
            columns = [m for m in analysis.measures if m.family == family]
            if not columns:
                continue
            name = f"{analysis.table.title}: {title.lower()}"
            lines += [
                "",
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{_tex(name)}, protocol {analysis.table.digest}.}}",
                rf"\begin{{tabular}}{{lr{'l' * len(columns)}}}",
                r"\toprule",
                " & ".join(["Row", "Seeds", *(_tex(m.heading) for m in columns)]) + r" \\",
                r"\midrule",
            ]
            for place, row in enumerate(analysis.rows):
                cells = [_tex(row.title), str(len(row.runs))]
                for m in columns:
                    text, (best, second) = _tex(wording.spread(row, m)), analysis.best[m.key]
                    if place in best:
                        text = rf"\textbf{{{text}}}"
                    elif place in second:
                        text = rf"\underline{{{text}}}"
                    found = of.get((row.title, m.key))
                    mark = _tex(wording.MARKS[found.verdict]) if found else ""
                    cells.append(f"{text} {mark}".strip())
                lines.append(" & ".join(cells) + r" \\")
            lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in one_line(text))
