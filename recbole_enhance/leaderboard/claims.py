"""Whether claims of papers hold on boards: a page written from the files of boards."""

import csv
import io
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recbole_enhance.leaderboard import statistics, wording
from recbole_enhance.leaderboard.texts import md_table, md_text
from recbole_enhance.options.errors import RunFolderError
from recbole_enhance.options.read import load_yaml
from recbole_enhance.storage.files import read_text

HOLDS, OPEN, FAILS, UNKNOWN = "holds", "no clear difference", "does not hold", "not measured"
_BOARD = "significance.csv"
_GROUPS = "groups.csv"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class BoardEvidence(_Part):
    """Rows of a board, each against its backbone.

    Attributes:
        board: Folder of the board's pages, seen from the file of claims.
        rows: Titles of rows.
        metric: As in ``significance.csv``.
        expect: ``gain`` in the metric's direction, or ``kept``: no loss that the board marks.
    """

    board: str
    rows: list[str] = Field(min_length=1)
    metric: str
    expect: Literal["gain", "kept"] = "gain"


class GroupEvidence(_Part):
    """Rows of a board: whether the users with the fewest training interactions gain most.

    Attributes:
        board: Folder of the board's pages, seen from the file of claims.
        rows: Titles of rows.
        group: As in ``groups.csv``, such as ``level 1 less level 4``.
    """

    board: str
    rows: list[str] = Field(min_length=1)
    group: str


class TableEvidence(_Part):
    """Two settings in a table with a line for each seed, compared over the seeds that both have.

    Attributes:
        table: CSV file, seen from the file of claims.
        label: What the page calls the setting.
        setting: Column -> value, of the lines of the method.
        base: The same of what it is compared with.
        value: The column of the values.
        better: The side that is better.
        expect: See :class:`BoardEvidence`.
    """

    table: str
    label: str
    setting: dict[str, str]
    base: dict[str, str]
    value: str
    better: Literal["larger", "smaller"] = "larger"
    expect: Literal["gain", "kept"] = "gain"


class Claim(_Part):
    """A sentence of a paper.

    Attributes:
        claim: What is claimed.
        paper_says: The paper's number.
        evidence: What decides; none for what no board has measured.
        because: One sentence: the reason, with what shows it.
    """

    claim: str
    paper_says: str
    evidence: list[BoardEvidence | GroupEvidence | TableEvidence] = []
    because: str


class Paper(_Part):
    """A method, its page, and its claims."""

    paper: str
    page: str
    claims: list[Claim]


class _Claims(_Part):
    papers: list[Paper]


class Found(NamedTuple):
    """One comparison that speaks for or against a claim."""

    where: str
    row: str
    metric: str
    percent: float  # change against the base
    low: float  # 95 % over seeds, percent of the base
    high: float
    seeds: int
    verdict: str


def claims_page(path: Path, root: Path) -> str:
    """Write the page.

    Args:
        path: YAML file of the claims.
        root: Folder that the page will lie in, which its links are seen from.

    Raises:
        RunFolderError: Naming the file and the entry that is wrong, or the row, metric or setting
            that a board or table does not have.
    """
    try:
        papers = _Claims.model_validate(load_yaml(path)).papers
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        entry = ".".join(str(part) for part in first["loc"])
        raise RunFolderError(path, f"{entry}: {first['msg']}") from error
    lines = [
        "# What became of the papers' claims",
        "",
        f"Written by `recbole-enhance leaderboard claims {path.as_posix()}` from the boards and "
        "tables that it names; numbers and verdicts are computed. A claim **holds** where the "
        "method is better than its backbone "
        "([tests](leaderboard_pages.md#against-the-backbone)), and **does not hold** where it is "
        'worse; otherwise there is **no clear difference**. "Ours" is the change against the '
        "backbone in percent, with the 95 % interval over seeds.",
        "",
    ]
    every = [[_evidence(claim, path.parent) for claim in paper.claims] for paper in papers]
    header = ["method", "claim", "the paper", "verdict"]
    overview = [
        [paper.paper, claim.claim, claim.paper_says, verdict(found)]
        for paper, of_paper in zip(papers, every)
        for claim, found in zip(paper.claims, of_paper)
    ]
    lines += [*md_table(header, overview), ""]
    for paper, of_paper in zip(papers, every):
        lines += [f"## {paper.paper}", "", f"More: [{paper.page}]({paper.page}).", ""]
        for claim, found in zip(paper.claims, of_paper):
            lines += [f"### {claim.claim}", "", f"The paper: {claim.paper_says}.", ""]
            if found:
                lines += [*_table(found, path.parent, root), ""]
            lines += [f"**{_capital(verdict(found))}.** {claim.because}", ""]
    return "\n".join(lines).rstrip() + "\n"


def verdict(found: Sequence[Found]) -> str:
    """Of all comparisons: one word where they agree, else how often it holds."""
    count = Counter(one.verdict for one in found)
    if len(count) <= 1:
        return next(iter(count), UNKNOWN)
    if not count[HOLDS]:
        return f"{FAILS} in {count[FAILS]} of {len(found)}, else {OPEN}"
    return f"{HOLDS} in {count[HOLDS]} of {len(found)}"


def _evidence(claim: Claim, folder: Path) -> list[Found]:
    found = []
    for evidence in claim.evidence:
        if isinstance(evidence, BoardEvidence):
            found += _of_board(evidence, folder)
        elif isinstance(evidence, GroupEvidence):
            found += _of_groups(evidence, folder)
        else:
            found.append(_of_table(evidence, folder))
    return found


def _of_board(evidence: BoardEvidence, folder: Path) -> list[Found]:
    path = folder / evidence.board / _BOARD
    lines = {(line["row"], line["metric"]): line for line in _lines(path)}
    found = []
    for row in evidence.rows:
        line = lines.get((row, evidence.metric))
        if line is None:
            raise RunFolderError(path, f"no comparison of {row} in {evidence.metric}")
        low, high = (_of(line, key) for key in ("ci_low", "ci_high"))
        base = abs(_of(line, "backbone_value"))
        side = line["verdict"]
        kept = evidence.expect == "kept"
        word = {"better": HOLDS, "worse": FAILS}.get(side, HOLDS if kept else OPEN)
        low, high = (100 * end / base if base else math.nan for end in (low, high))
        percent, seeds = _of(line, "percent"), int(line["seeds"])
        found.append(Found(evidence.board, row, evidence.metric, percent, low, high, seeds, word))
    return found


def _of_groups(evidence: GroupEvidence, folder: Path) -> list[Found]:
    path = folder / evidence.board / _GROUPS
    lines = {line["row"]: line for line in _lines(path) if line["group"] == evidence.group}
    found = []
    for row in evidence.rows:
        line = lines.get(row)
        if line is None:
            raise RunFolderError(path, f"no line of {row} for {evidence.group}")
        percent, low, high = (_of(line, key) for key in ("percent", "ci_low", "ci_high"))
        least, most = sorted((low, high) if line["better"] == "larger" else (-low, -high))
        word = _by_interval(least, most)
        metric = f"{line['metric']}, gain of {evidence.group}"
        seeds = int(line["seeds"])
        found.append(Found(evidence.board, row, metric, percent, low, high, seeds, word))
    return found


def _of_table(evidence: TableEvidence, folder: Path) -> Found:
    path = folder / evidence.table
    lines = _lines(path)
    ours, theirs = (
        _by_seed(lines, s, evidence.value, path) for s in (evidence.setting, evidence.base)
    )
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        raise RunFolderError(path, f"{evidence.label} and its base have no seed in common")
    difference = np.array([ours[seed] - theirs[seed] for seed in seeds])
    interval = statistics.seed_interval(difference)
    base = abs(float(np.mean([theirs[seed] for seed in seeds])))
    sign = 1 if evidence.better == "larger" else -1
    low, high = sorted((sign * interval.low, sign * interval.high))
    word = _by_interval(low, high)
    if evidence.expect == "kept" and word == OPEN:
        word = HOLDS
    mean, low, high = (100 * end / base for end in (interval.mean, interval.low, interval.high))
    return Found(evidence.table, evidence.label, evidence.value, mean, low, high, interval.n, word)


def _by_interval(low: float, high: float) -> str:
    """The verdict of an interval over seeds, where larger is better."""
    return HOLDS if low > 0 else FAILS if high < 0 else OPEN


def _by_seed(
    lines: Sequence[Mapping[str, str]], setting: Mapping[str, str], value: str, path: Path
) -> dict[str, float]:
    found = {
        line["seed"]: _of(line, value)
        for line in lines
        if all(line.get(key) == wanted for key, wanted in setting.items())
    }
    found = {seed: number for seed, number in found.items() if not math.isnan(number)}
    if not found:
        said = ", ".join(f"{key}={wanted}" for key, wanted in setting.items())
        raise RunFolderError(path, f"no line has {said} and a value of {value}")
    return found


def _table(found: Sequence[Found], folder: Path, root: Path) -> list[str]:
    rows = []
    for one in found:
        place = folder / one.where
        target = place if place.is_file() else place / "board.md"
        link = Path(os.path.relpath(target, root)).as_posix()
        interval = f"{_percent(one.low)} to {_percent(one.high)}"
        rows.append(
            [
                f"[{md_text(place.stem)}]({link})",
                md_text(one.row),
                md_text(one.metric),
                f"{wording.percent(one.percent)} ({interval}, {one.seeds} seeds)",
                one.verdict,
            ]
        )
    return md_table(["board", "row", "metric", "ours", "verdict"], rows, escape=False)


def _percent(value: float) -> str:
    return wording.percent(value).removesuffix(" %")


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _of(line: Mapping[str, str], key: str) -> float:
    text = line.get(key)
    return float(text) if text else math.nan


def _lines(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(read_text(path))))
