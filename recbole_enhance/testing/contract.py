"""What every method must keep: a test class inherits these checks and names its method."""

import re
import sys
from pathlib import Path

import pytest
import torch

from recbole_enhance.enhancer import load_enhancer
from recbole_enhance.experiment.config import Config
from recbole_enhance.options.paths import resource_dir
from recbole_enhance.options.read import load_yaml
from recbole_enhance.storage.run_folder import MODEL
from recbole_enhance.storage.tensor_files import load_tensors
from recbole_enhance.testing.worlds import run_toy, toy_options


class Contract:
    """Inherit, set ``method``, and the lists of backbones it takes and refuses."""

    method: str
    backbones: tuple
    refused = ("MultiDAE", "SASRec", "Pop")

    def options_of(self, backbone):
        """What the method needs beside its name to take a backbone."""
        return {}

    def test_it_trains_every_backbone_it_names(self, toy):
        for backbone in self.backbones:
            options = {"backbone": backbone, "epochs": 1, **self.options_of(backbone)}
            result = run_toy(toy, self.method, saved=False, **options)
            assert 0 <= result["test_result"]["recall@10"] <= 1, backbone

    def test_it_refuses_the_others_by_name(self, toy):
        for backbone in self.refused:
            options = {"backbone": backbone, **self.options_of(backbone)}
            with pytest.raises(ValueError, match=f"backbone={backbone}: .*backbones that work"):
                Config(config_dict=toy_options(toy, self.method, **options))

    def test_same_seed_same_result(self, toy):
        first, second = (run_toy(toy, self.method, saved=False) for _ in range(2))
        assert first == second
        assert first != run_toy(toy, self.method, saved=False, seed=1)

    def test_its_model_file_holds_the_reported_model(self, toy):
        result = run_toy(toy, self.method)
        backbone = load_yaml(resource_dir("properties") / "enhancer" / f"{self.method}.yaml")[
            "backbone"
        ]
        state = load_tensors(Path(result["run_dir"], MODEL), f"{self.method}-{backbone}", "cpu")
        assert all(isinstance(v, torch.Tensor) for v in state["state_dict"].values())

    def test_every_option_is_read_and_every_option_read_is_documented(self):
        path = resource_dir("properties") / "enhancer" / f"{self.method}.yaml"
        documented = set(load_yaml(path)) - {"backbone"}
        module = Path(sys.modules[load_enhancer(self.method).check.__module__].__file__)
        folder = module.parent if module.stem == "method" else None
        code = "".join(f.read_text() for f in (folder.glob("*.py") if folder else [module]))
        prefix = f"{self.method.lower()}_"
        read = set(re.findall(rf'config\["({prefix}\w+)"\]', code))
        assert documented == read
        for line in path.read_text().splitlines()[1:]:
            assert re.match(r"\w+: .*# \((int|float|bool|str)\) \w.*\.$", line), line
