"""Rows that equal their backbone bit for bit: a method that did nothing."""

from recbole_enhance.evaluation.files import PER_USER
from recbole_enhance.leaderboard.collect import FinishedRun

TWIN = "it equals {} bit for bit in every seed, so the method has done nothing"


def same_bits(ours: FinishedRun, theirs: FinishedRun) -> bool:
    """Whether two runs have the same test results, and of each user, to the last digit."""
    files = [run.folder / PER_USER for run in (ours, theirs)]
    if ours.report["test_result"] != theirs.report["test_result"]:
        return False
    # The file has a stable byte content; without it, rounded means say too little.
    return all(file.is_file() and not file.is_symlink() for file in files) and (
        files[0].read_bytes() == files[1].read_bytes()
    )
