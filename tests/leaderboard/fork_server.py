"""Has imported everything, and runs the command line in a fork for each line of stdin.

Starting Python with torch takes seconds; a fork takes none, and is a process that can be killed.
A line is JSON: the words, and the file for what they print. Answers are the fork's id, and then its
status.
"""

import json
import os
import sys
import warnings

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    import torch

    from recbole_enhance.compat import mends

    mends.apply()
    import recbole_enhance.cli.leaderboard
    import recbole_enhance.leaderboard.run
    from recbole_enhance.cli.program import main

    torch.set_num_threads(1)
    recbole_enhance.leaderboard.run._build_pages = lambda out, quiet: True  # tested elsewhere
    print("ready", flush=True)
    for line in sys.stdin:
        words, file = json.loads(line)
        child = os.fork()
        if child == 0:
            with open(file, "w") as sys.stdout, open(os.devnull, "w") as sys.stderr:
                status = main(words)
            os._exit(status)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
