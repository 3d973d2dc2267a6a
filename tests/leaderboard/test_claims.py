"""Claims of papers against boards: which verdict a comparison gives, and what a page refuses."""

from pathlib import Path

import pytest
import yaml

from recbole_enhance.cli.program import main
from recbole_enhance.leaderboard.claims import (
    FAILS,
    HOLDS,
    OPEN,
    UNKNOWN,
    Found,
    claims_page,
    verdict,
)
from recbole_enhance.options.errors import RunFolderError

ROOT = Path(__file__).parents[2]
HEAD = "row,metric,backbone_value,percent,ci_low,ci_high,seeds,verdict\n"


def claims(folder, *evidence):
    claim = {"claim": "it gains", "paper_says": "+5 %", "because": "so.", "evidence": evidence}
    content = {"papers": [{"paper": "X", "page": "x.md", "claims": [claim]}]}
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.mark.parametrize(
    ("mark", "gain", "kept"),
    [
        ("better", HOLDS, HOLDS),
        ("better maybe", OPEN, HOLDS),
        ("", OPEN, HOLDS),
        ("worse maybe", OPEN, HOLDS),
        ("worse", FAILS, FAILS),
    ],
)
def test_the_marks_of_a_board_decide(tmp_path, mark, gain, kept):
    board = tmp_path / "boards/b"
    board.mkdir(parents=True)
    line = f"DVR-BPR,ndcg@10,0.5,2.0,-0.01,0.02,3,{mark}\n"
    (board / "significance.csv").write_text(HEAD + line)
    for expect, wanted in (("gain", gain), ("kept", kept)):
        evidence = {"board": "boards/b", "rows": ["DVR-BPR"], "metric": "ndcg@10", "expect": expect}
        page = claims_page(claims(tmp_path, evidence), tmp_path / "docs")
        assert f"| X | it gains | +5 % | {wanted} |" in page
        assert "[b](../boards/b/board.md)" in page
        assert f"+2.0 % (\N{MINUS SIGN}2.0 to +4.0, 3 seeds) | {wanted} |" in page


@pytest.mark.parametrize(
    ("ours", "better", "wanted"),
    [
        ((0.5, 0.52, 0.51), "larger", HOLDS),
        ((0.5, 0.52, 0.51), "smaller", FAILS),
        ((0.3, 0.2, 0.62), "larger", OPEN),
    ],
)
def test_the_interval_over_the_seeds_of_a_table_decides(tmp_path, ours, better, wanted):
    """A seed that only one has, and a line without a value, do not count."""
    lines = [f"base,{seed},{0.4 + 0.001 * seed}" for seed in (1, 2, 3, 4)]
    lines += [f"method,{seed},{value}" for seed, value in zip((1, 2, 3), ours)] + ["method,5,"]
    (tmp_path / "t.csv").write_text("arm,seed,auc\n" + "\n".join(lines))
    evidence = {
        "table": "t.csv",
        "label": "method",
        "setting": {"arm": "method"},
        "base": {"arm": "base"},
        "value": "auc",
        "better": better,
    }
    page = claims_page(claims(tmp_path, evidence), tmp_path)
    assert "3 seeds" in page
    assert f"| X | it gains | +5 % | {wanted} |" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), UNKNOWN),
        ((HOLDS, HOLDS), HOLDS),
        ((OPEN,), OPEN),
        ((HOLDS, OPEN, FAILS), "holds in 1 of 3"),
        ((FAILS, OPEN), "does not hold in 1 of 2, else no clear difference"),
    ],
)
def test_one_word_where_all_agree_else_a_count(words, said):
    found = [Found("b", "r", "m", 0.0, 0.0, 0.0, 3, word) for word in words]
    assert verdict(found) == said


def test_what_a_board_does_not_have_is_named(tmp_path, capsys):
    (tmp_path / "significance.csv").write_text(HEAD)
    evidence = {"board": ".", "rows": ["DVR-BPR"], "metric": "ndcg@10"}
    with pytest.raises(RunFolderError, match=r"no comparison of DVR-BPR in ndcg@10"):
        claims_page(claims(tmp_path, evidence), tmp_path)
    path = claims(tmp_path, {**evidence, "expect": "magic"})
    assert main(["leaderboard", "claims", str(path)]) == 2
    said = capsys.readouterr().err
    assert "expect" in said
    assert said.count("\n") == 1


def test_our_page_is_what_our_boards_say(monkeypatch):
    monkeypatch.chdir(ROOT)
    page = claims_page(Path("docs/claims.yaml"), Path("docs"))
    assert page == (ROOT / "docs/claims.md").read_text()
