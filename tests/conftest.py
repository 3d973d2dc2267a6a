import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings

# Tables that a test reads are kept here, and not in the cache of whoever runs the tests.
os.environ["XDG_CACHE_HOME"] = str(Path(tempfile.gettempdir(), f"recbole_enhance-{os.getuid()}"))

pytest_plugins = ["recbole_enhance.testing.plugin"]

# How long an example takes says how busy the machine is, and no more.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
