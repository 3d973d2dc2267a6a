"""Fixtures, as a plugin of pytest: ``pytest_plugins = ["recbole_enhance.testing.plugin"]``."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import recbole.evaluator.register as recbole_metrics
import torch

from recbole_enhance.testing.worlds import write_feature_toy, write_toy

for _module in ("comparing", "contract"):
    pytest.register_assert_rewrite(f"recbole_enhance.testing.{_module}")

TABLES = ("metrics_dict", "metric_information", "metric_types", "smaller_metrics")
RECBOLES = {name: getattr(recbole_metrics, name).copy() for name in TABLES}


@pytest.fixture(autouse=True)
def one_thread_in_a_clean_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every test: RecBole writes into the working folder; more threads than cores are slower."""
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def recboles_metrics() -> Iterator[None]:
    """After every test: RecBole's tables of metrics are its own again, without ours."""
    yield
    for name in TABLES:
        table = getattr(recbole_metrics, name)
        table.clear()
        (table.extend if isinstance(table, list) else table.update)(RECBOLES[name])


@pytest.fixture
def generator() -> torch.Generator:
    """A source of random numbers with a fixed seed."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that holds the dataset ``toy``, see :func:`~.worlds.write_toy`."""
    return write_toy(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that holds the dataset ``reviews``, see :func:`~.worlds.write_feature_toy`."""
    return write_feature_toy(tmp_path_factory.mktemp("reviews"))
