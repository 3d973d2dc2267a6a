"""What a launcher (``torchrun``) says of the processes of one run; torch is not imported."""

import os


def rank() -> int:
    """Number of this process among those of its run, from 0; 0 where it is alone."""
    return int(os.environ.get("RANK", 0)) if size() > 1 else 0


def local_rank() -> int:
    """Number of this process among those of its run on this machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", rank())) if size() > 1 else 0


def size() -> int:
    """How many processes train one model; 1 without a launcher."""
    words = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR")]
    return int(words[1]) if words[0].isdigit() and words[1].isdigit() and words[2] else 1


def is_first() -> bool:
    """Whether this process writes files and prints messages; the others only compute."""
    return rank() == 0
