import pytest
import torch
from worlds import write_feature_toy, write_toy


@pytest.fixture(autouse=True)
def _one_thread_in_a_clean_folder(tmp_path, monkeypatch):
    """RecBole writes into the working directory; more threads than cores are slower."""
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)


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
