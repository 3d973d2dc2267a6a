"""The command line as a user calls it, in this process."""

import contextlib
import io

from recbole_enhance.cli.program import main


def call(*words):
    """Exit status, and what went to standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(word) for word in words])
    return status, out.getvalue(), err.getvalue()


def refused(*words):
    """The one line of a call that bad input has ended."""
    status, out, err = call(*words)
    assert (status, out) == (2, ""), err
    assert err.startswith("recbole-enhance: error: "), err
    assert err.count("\n") == 1, err
    return err.removeprefix("recbole-enhance: error: ").strip()
