"""The words that explain a page: columns, kinds of rows, and terms."""

from recbole_enhance.leaderboard import wording
from recbole_enhance.leaderboard.wording import DASH
from recbole_enhance.storage.run_folder import EXTERNAL

COMPARISON = (
    # title, what to show first, whether text, tooltip
    ("Method", "ascending", True, "The method over its backbone."),
    ("Backbone", "ascending", True, "The same model without the method, under the same protocol."),
    ("Metric", "ascending", True, "The arrow shows whether larger or smaller is better."),
    ("Value", "descending", False, "Mean over the seeds that both rows have."),
    ("Without", "descending", False, "The backbone's mean over the same seeds."),
    ("Difference", "descending", False, "Method minus backbone, in the metric's own sign."),
    ("Percent", "descending", False, "The difference in percent of the backbone's value."),
    ("95 % over seeds", "descending", False, "Student's interval of the difference over seeds."),
    (
        "p, t (Holm)",
        "ascending",
        False,
        "Paired t-test over users on seed-averaged values, "
        "two-sided, after Holm's correction over the table.",
    ),
    ("p, Wilcoxon (Holm)", "ascending", False, "Signed-rank test over users, after Holm."),
    ("p, t (BH)", "ascending", False, "The t-test after Benjamini and Hochberg."),
    ("p, seeds (Holm)", "ascending", False, "Paired t-test over seeds, after Holm."),
    (
        "d_z",
        "descending",
        False,
        "Cohen's effect size: mean over standard deviation of the users' "
        "differences. 0.2 is small, 0.5 medium, 0.8 large.",
    ),
    ("r", "descending", False, "Rank-biserial correlation, the effect size of Wilcoxon's test."),
    (
        "Win / tie / loss",
        "descending",
        False,
        "Number of users for whom the method is better, equal, worse.",
    ),
)
MODELS = {
    "general": "General models",
    "sequential": "Sequential models",
    "context": "Context-aware models",
    "knowledge": "Knowledge-based models",
    "exlib": "Boosted trees",
    "method": "Methods over a backbone",
    "ours": "Models of this package",
    EXTERNAL: "Lists of another tool",
    "failed": "Failed rows",
    "other": "Your own models",
}
GLOSSARY = (
    (
        "Backbone",
        "The model under a method. DVR-BPR is the method DVR over the backbone BPR.",
    ),
    (
        "±",
        "Standard deviation over seeds. If the split is random, each seed has its own split, "
        "the same for all rows.",
    ),
    ("Marks", wording.LEGEND),
    (
        "Over users",
        "Each user's values are averaged over the seeds that method and backbone "
        "share, and compared in pairs: a paired t-test and Wilcoxon's signed-rank test, both "
        "two-sided. Users with a value in only one of the two are left out, and their number is "
        "shown.",
    ),
    (
        "Over seeds",
        "The difference of the two means for each seed, with Student's 95 % interval. "
        "It says whether training again would give the same; with few seeds it is wide.",
    ),
    (
        "Holm, BH",
        "All comparisons of a table are one family for each kind of test. Holm bounds the "
        "chance of one false finding, Benjamini and Hochberg the share of false ones.",
    ),
    (
        "Smaller is better",
        "Wins, best places and colours are reversed; the sign of a difference is not.",
    ),
    (
        "External",
        "Lists that another tool has made, judged by the same protocol; nothing here has trained "
        "them. They are compared with the row of the run that `recbole-enhance evaluate --like` "
        "named.",
    ),
    (DASH, "There is no value; point at it for the reason."),
)
