import pytest
import recbole.evaluator.register as recbole_metrics
import torch
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("recbole_enhance.testing")

from recbole_enhance.testing.worlds import write_feature_toy, write_toy

TABLES = ("metrics_dict", "metric_information", "metric_types", "smaller_metrics")
RECBOLES = {name: getattr(recbole_metrics, name).copy() for name in TABLES}

# How long an example takes says how busy the machine is, and no more.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(autouse=True)
def _one_thread_in_a_clean_folder(tmp_path, monkeypatch):
    """RecBole writes into the working directory; more threads than cores are slower."""
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _recboles_metrics():
    """Ours are registered for the process; some tests look at RecBole's own."""
    yield
    for name in TABLES:
        table = getattr(recbole_metrics, name)
        table.clear()
        (table.extend if isinstance(table, list) else table.update)(RECBOLES[name])


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """Folder that holds the dataset ``toy``."""
    return write_toy(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def reviews(tmp_path_factory):
    """Folder that holds the dataset ``reviews``, with feature mentions."""
    return write_feature_toy(tmp_path_factory.mktemp("reviews"))
