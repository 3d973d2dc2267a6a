"""The verb ``data check``: what is wrong with a dataset."""

from recbole_enhance.cli.command import QUIET, RUN_OPTIONS, Option, Place, Verb, console
from recbole_enhance.cli.kinds import Kind
from recbole_enhance.options.errors import UnknownOptionError
from recbole_enhance.options.read import split_files
from recbole_enhance.storage.log_lines import show


def check(name: str, options: dict[str, str], quiet: bool, **files: str | None) -> int:
    """Print what was found, and return 1 if something is wrong."""
    if "dataset" in options:
        raise UnknownOptionError("--dataset", "write the dataset without it: data check NAME")
    with console(True):  # warnings of the run come as findings
        from recbole_enhance.experiment.data_check import check_data
        from recbole_enhance.storage.outputs import output_file
        from recbole_enhance.storage.run_folder import RunFolder

        json = None if files["json"] is None else output_file("json", files["json"])
        paths, command_line = split_files(options)
        found = check_data(name, paths, command_line=command_line)
        if json is not None:
            content = {
                "dataset": name,
                "wrong": found.wrong,
                "findings": [finding._asdict() for finding in found.findings],
                "account": found.account,
            }
            RunFolder(json.parent, fresh=False).write_json(json.name, content)
    if not quiet:
        wrong = sum(finding.wrong for finding in found.findings)
        lines = [
            f"{'wrong' if finding.wrong else 'note':<6}{finding.check + ':':<11}{finding.text}"
            for finding in found.findings
        ]
        verdict = f"wrong: {wrong} of {len(lines)} findings" if wrong else "nothing is wrong"
        show("\n".join([*found.lines, *lines, verdict]))
    return int(found.wrong)


CHECK = Verb(
    "check",
    callback=check,
    takes_run_options=True,
    params=[
        Place("name", "NAME", "the name of a dataset"),
        *(option for option in RUN_OPTIONS if option.name != "dataset"),
        Option(
            "variant", Kind("NAME"), "variant of the dataset's protocol", of_run=True, typed=False
        ),
        Option("json", Kind("FILE"), "also write what was found as JSON"),
        QUIET,
    ],
    help="Check the data of a run, and train nothing. Reports how many rows were read and dropped, "
    "repeated pairs, gaps, times, leakage between the parts of the split, ids that look like "
    "numbers, and encodings. Options of a run decide what is read and how it is split. The "
    "exit status is 1 if something is wrong.",
    example="""\
recbole-enhance data check ml-100k
recbole-enhance data check ml-100k --model=SASRec --json=check.json""",
)
