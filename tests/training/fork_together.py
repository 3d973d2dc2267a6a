"""Has imported everything, and runs the command line in one or more forks that train together.

A line of stdin is JSON: how many, a free port, the words, and the beginning of the names of the
files for what they print. Answers are the forks' ids and, after an empty line, their statuses.
"""

import json
import os
import sys
import warnings

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    import torch

    import recbole_enhance.experiment.quick_start  # noqa: F401
    from recbole_enhance.cli.program import main
    from recbole_enhance.compat import mends

    mends.apply()
    torch.set_num_threads(1)
    print("ready", flush=True)
    for line in sys.stdin:
        size, port, words, name = json.loads(line)
        children = []
        for rank in range(size):
            child = os.fork()
            if child == 0:
                if size > 1:
                    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size)}
                    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
                out = os.open(f"{name}.{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(out, 1)
                os.dup2(out, 2)
                status = main(words)
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
            children.append(child)
        print(json.dumps(children), flush=True)
        sys.stdin.readline()
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(statuses), flush=True)
