"""Curves of a board: which rows make one, what is drawn, and what is refused."""

import pandas as pd
import pytest

from recbole_enhance.cli.program import main
from recbole_enhance.leaderboard import curves
from recbole_enhance.leaderboard.measures import measure_of
from recbole_enhance.options.errors import OptionError, RunFolderError

BACKBONES = {"DVR-BPR": "BPR", "DVR-LightGCN": "LightGCN", "BPR": "BPR", "EASE": "EASE"}
ROWS = [
    ("BPR", ""),
    ("EASE", ""),
    ("DVR-BPR", "CC-0.4"),
    ("DVR-BPR", "CC-0.05"),
    ("DVR-BPR", "CC-0.1"),
    ("DVR-BPR", "two-stages-3"),
    ("DVR-BPR", "ndcg"),
]


def write_board(folder, rows=ROWS, metrics=("ndcg@20", "ild@20", "giniindex@20", "history:loss")):
    lines = [
        {
            "dataset": "toy",
            "variant": "",
            "row": f"{label} ({name})" if name else label,
            "label": label,
            "name": name,
            "backbone": BACKBONES[label],
            "metric": metric,
            "mean": 0.1 * n + m,
        }
        for n, (label, name) in enumerate(rows)
        for m, metric in enumerate(metrics)
    ]
    pd.DataFrame(lines).to_csv(folder / "board.csv", index=False)
    return pd.DataFrame(lines)


def test_rows_that_differ_in_a_number_are_a_curve_by_rising_number(tmp_path):
    found, backbone = curves._curves(write_board(tmp_path))
    rows = ["DVR-BPR (CC-0.05)", "DVR-BPR (CC-0.1)", "DVR-BPR (CC-0.4)"]
    assert found == [curves.Curve("CC", rows, [0.05, 0.1, 0.4])]
    assert backbone == "BPR"


def test_curves_of_two_backbones_are_told_apart(tmp_path):
    rows = [(label, f"CC-{n}") for label in ("DVR-BPR", "DVR-LightGCN") for n in (1, 2)]
    found, _ = curves._curves(write_board(tmp_path, rows))
    assert [curve.name for curve in found] == ["DVR-BPR (CC)", "DVR-LightGCN (CC)"]


def drawn_on(table):
    """The axes of one picture."""
    from matplotlib.figure import Figure

    found, backbone = curves._curves(table)
    means = table.pivot(index="row", columns="metric", values="mean")
    figure = Figure()
    curves._draw(figure, found, backbone, means, measure_of("ndcg@20"), measure_of("ild@20"))
    return figure.axes[0]


def test_a_curve_begins_at_the_backbone_and_far_rows_are_named_at_the_side(tmp_path):
    table = write_board(tmp_path)
    table.loc[table["row"] == "EASE", "mean"] = 50.0
    axes = drawn_on(table)
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert lines["CC"].get_xdata().tolist() == pytest.approx([0.0, 0.3, 0.4, 0.2])
    assert lines["CC"].get_ydata().tolist() == pytest.approx([1.0, 1.3, 1.4, 1.2])
    assert list(lines["BPR"].get_xdata()) == [0.0]
    assert list(lines["EASE: 50, 50"].get_xdata()) == []
    assert axes.get_xlim()[1] < 2


def test_there_is_a_picture_for_each_metric_but_accuracy_and_training(tmp_path, capsys):
    write_board(tmp_path)
    assert main(["leaderboard", "curves", str(tmp_path)]) == 0
    names = [line.rpartition("/")[2] for line in capsys.readouterr().out.split()]
    stems = ("toy-curve-ild-at-20", "toy-curve-giniindex-at-20")
    assert names == [f"{stem}.{suffix}" for stem in stems for suffix in ("png", "svg")]
    assert {path.name for path in (tmp_path / "plots").iterdir()} == set(names)
    assert (tmp_path / "plots" / names[0]).read_bytes().startswith(b"\x89PNG")


def test_nothing_is_written_outside_the_folder_of_the_board(tmp_path):
    board = tmp_path / "boards" / "one"
    board.mkdir(parents=True)
    table = write_board(board)
    table["dataset"] = "../../elsewhere"
    table.to_csv(board / "board.csv", index=False)
    written = curves.write_curves(board, "ndcg@20")
    assert {path.resolve().parent for path in written} == {board / "plots"}
    for path in written:
        path.unlink()
    (board / "plots").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (board / "plots").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is a link, and nothing is written outside"):
        curves.write_curves(board, "ndcg@20")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_what_has_no_curves_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match=r"no board: board\.csv is missing"):
        curves.write_curves(tmp_path, "ndcg@20")
    write_board(tmp_path, ROWS[:3])
    with pytest.raises(RunFolderError, match=r"no curves: no two rows have names as CC-0\.05 and"):
        curves.write_curves(tmp_path, "ndcg@20")
    with pytest.raises(OptionError, match="accuracy=ndgc@20: one of ndcg@20, ild@20"):
        curves.write_curves(tmp_path, "ndgc@20")
    assert not (tmp_path / "plots").exists()
