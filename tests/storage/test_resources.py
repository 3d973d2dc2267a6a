import subprocess
import sys
from pathlib import Path

import pytest

PEAKS = """
import torch
from recbole_enhance.storage import resources
block = torch.ones(64 * 2**18)  # 64 MB
print(resources.peak_mb())
del block
resources.reset_peak()
print(resources.peak_mb())
"""


def test_the_peak_of_memory_is_of_one_run():
    """In a fresh process: one that freed much before may hold the block in what it kept."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        pytest.skip(f"the kernel resets no peak: {error.strerror}")
    command = [sys.executable, "-c", PEAKS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    high, after = map(float, done.stdout.split())
    assert after < high - 50
