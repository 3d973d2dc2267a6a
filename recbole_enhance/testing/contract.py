"""What every method must keep: a test class inherits these checks and names its method."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_enhance.enhancer import enhancer_names, load_enhancer
from recbole_enhance.enhancer.base import Enhancer
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.names import get_model_class
from recbole_enhance.experiment.quick_start import load_run, resume_run, run_recbole_enhance
from recbole_enhance.options.schema import option_json_schema
from recbole_enhance.storage.run_folder import METRICS, MODEL, RunFolder
from recbole_enhance.storage.tensor_files import load_tensors
from recbole_enhance.testing.comparing import Trained, assert_resumes, assert_same, trained
from recbole_enhance.testing.worlds import toy_options

Options = Mapping[str, Any]
_TYPE = r"(int|float|bool|str|list of \w+)( or None)?"  # as a comment says it


class Contract:
    """Inherit, and set the attributes that have no value here.

    The tests run on the planted world of the fixture ``toy`` (``recbole_enhance.testing.plugin``).

    Attributes:
        method: Name of the method, or the Enhancer.
        backbones: Names of the backbones it takes, all of which are tried.
        refused: Names of some that it refuses.
        neutral: Settings at which the method is its backbone, bit for bit. None where there is
            none, with the reason in ``why_not_neutral``.
        why_not_neutral: A sentence.
        neutral_over: The backbones to try that over; all if empty.
        resumed: Settings of runs that are stopped and resumed.
        bad_options: Settings that are refused, and how the line begins that says so, with the
            option and its value. Those beyond a bound in ``Enhancer.options`` are tried anyway.
    """

    method: str | Enhancer
    backbones: Sequence[Any]
    refused: Sequence[Any] = ("MultiDAE", "SASRec", "Pop")
    neutral: Sequence[Options] | None
    why_not_neutral = ""
    neutral_over: Sequence[Any] = ()
    resumed: Sequence[Options] = ({},)
    bad_options: Sequence[tuple[Options, str]] = ()

    # ---- what a method may override --------------------------------------------------------

    def options_of(self, backbone: Any) -> Options:
        """What a run needs beside method and backbone, for a backbone."""
        return {}

    def run_options(self, toy: Path, model: Any, **options: Any) -> dict[str, Any]:
        """All options of a short run.

        Args:
            toy: Folder of the data.
            model: The method, or a plain backbone.
            options: Of the run.
        """
        return toy_options(toy, model, show_progress=False, **options)

    # ---- the tests -------------------------------------------------------------------------

    def test_it_trains_every_backbone_it_names(self, toy: Path) -> None:
        """One epoch over each gives a result."""
        for backbone in self.backbones:
            result = self._run(toy, backbone=backbone, epochs=1, saved=False)
            assert 0 <= result["test_result"]["recall@10"] <= 1, backbone

    def test_it_refuses_the_others_by_name(self, toy: Path) -> None:
        """Before data are read, with the backbones that do work."""
        for backbone in self.refused:
            options = self._options(toy, backbone=backbone)
            with pytest.raises(ValueError, match=f"backbone={backbone}: .*backbones that work"):
                Config(config_dict=options)

    def test_same_seed_same_result(self, toy: Path) -> None:
        """Two runs of one seed are the same, and one of another seed is not."""
        first, second = (self._run(toy, saved=False) for _ in range(2))
        assert first == second
        assert first != self._run(toy, saved=False, seed=1)

    def test_its_model_file_holds_the_reported_model(self, toy: Path) -> None:
        """It loads without code, and the loaded run has the test result that was reported."""
        result = self._run(toy)
        folder = RunFolder.open(result["run_dir"])
        label = folder.read_json(METRICS)["label"]
        assert label == f"{self._enhancer.name}-{folder.named()['backbone']}"
        state = load_tensors(folder.path / MODEL, label, "cpu")
        assert all(isinstance(v, torch.Tensor) for v in state["state_dict"].values())
        run = load_run(folder.path, method=self._own)
        test_result = dict(run.trainer.evaluate(run.test_data))
        if run.config["eval_args"]["mode"]["test"] == "full":  # else other candidates are drawn
            assert test_result == result["test_result"]
        assert set(test_result) == set(result["test_result"])

    def test_its_neutral_setting_is_the_backbone_bit_for_bit(self, toy: Path) -> None:
        """Parameters, results, scores, and the random numbers that were drawn."""
        if self.neutral is None:
            assert self.why_not_neutral.endswith("."), "say in why_not_neutral why there is none"
            return
        assert self.neutral, "neutral: no setting is named"
        plain: dict[str, Trained] = {}
        for backbone in self.neutral_over or self.backbones:
            for setting in self.neutral:
                told = f"{backbone}, {setting}"
                options = {**self.options_of(backbone), **setting}
                shared = {k: v for k, v in options.items() if not k.startswith(self._prefix)}
                key = f"{backbone} {sorted(shared.items())}"
                if key not in plain:
                    plain[key] = self._plain(toy, backbone, shared)
                ours = trained(self._options(toy, backbone=backbone, **setting))
                try:
                    assert_same(plain[key], ours, extra=self._enhancer.wrap is not None)
                except AssertionError as error:
                    raise AssertionError(f"{told}: {error}") from error

    def test_stopped_and_resumed_it_is_as_if_never_stopped(
        self, toy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """State, history and result."""
        for number, setting in enumerate(self.resumed):
            assert_resumes(
                lambda setting=setting, **options: self._run(toy, **{**setting, **options}),
                lambda folder: resume_run(folder, quiet=True, method=self._own),
                monkeypatch,
                f"stopped-{number}",
            )

    def test_bad_options_are_refused_in_one_line(self, toy: Path) -> None:
        """Before data are read, and the line begins with what is wrong."""
        cases = [*self.bad_options, *_out_of_range(self._enhancer)]
        assert cases or set(self._enhancer.default_options()[1]) == {"backbone"}
        for options, message in cases:
            with pytest.raises(ValueError) as caught:  # noqa: PT011  the text is looked at below
                Config(config_dict=self._options(toy, **options))
            text = str(caught.value)
            assert text.startswith(message), f"{options}: {text}"
            assert "\n" not in text

    def test_every_option_is_read_and_every_option_read_is_documented(self) -> None:
        """Its defaults name what its code reads, and nothing else."""
        documented = set(self._enhancer.default_options()[1]) - {"backbone"}
        read = set(re.findall(rf'config\["({self._prefix}\w+)"\]', self._code()))
        assert documented == read
        fields = self._enhancer.options.model_fields
        assert set(fields) - {"backbone"} == documented
        assert all(field.description for field in fields.values())
        path = self._enhancer.options_file
        lines = path.read_text(encoding="utf-8").splitlines() if path else []
        for line in lines[1:]:
            assert re.match(rf"\w+: .*# \({_TYPE}\) \w.*\.$", line), line

    # ---- how they look at the method -------------------------------------------------------

    @property
    def _enhancer(self) -> Enhancer:
        return self.method if isinstance(self.method, Enhancer) else load_enhancer(self.method)

    @property
    def _own(self) -> Enhancer | None:
        """The method, if a run folder cannot import it by its name."""
        return None if self._enhancer.name.lower() in enhancer_names() else self._enhancer

    @property
    def _prefix(self) -> str:
        return f"{self._enhancer.name.lower()}_"

    def _options(self, toy: Path, **options: Any) -> dict[str, Any]:
        backbone = options.get("backbone") or self._enhancer.default_options()[1]["backbone"]
        options = {"backbone": backbone, **self.options_of(backbone), **options}
        return self.run_options(toy, self.method, **options)

    def _run(self, toy: Path, saved: bool = True, **options: Any) -> dict[str, Any]:
        return run_recbole_enhance(config_dict=self._options(toy, **options), saved=saved)

    def _plain(self, toy: Path, backbone: Any, options: Options) -> Trained:
        """The backbone as the method adapts it, alone."""
        model_class = backbone if isinstance(backbone, type) else get_model_class(backbone)
        adapt = self._enhancer.adapt
        model = adapt(model_class) if adapt else model_class
        return trained(self.run_options(toy, model, **options))

    def _code(self) -> str:
        method = self._enhancer
        parts = (method.check, method.trainer, method.wrap, method.adapt, method.prepare)
        modules = {part.__module__ for part in parts if part} | {method.path.partition(":")[0]}
        files = [Path(str(sys.modules[module].__file__)) for module in modules]
        for file in list(files):
            if file.stem == "method":  # of a method that fills a folder
                files += file.parent.glob("*.py")
        return "".join(file.read_text(encoding="utf-8") for file in set(files))


def _out_of_range(method: Enhancer) -> Iterator[tuple[Options, str]]:
    """For each bound that the class of a method's options has, a value beyond it."""
    for name in method.options.model_fields:
        field = option_json_schema(method.options, name)
        for kind in field.get("anyOf", [field]):
            beyond = [
                *(["nothing of these"] if "enum" in kind else []),
                *([kind["minimum"] - 1] if "minimum" in kind else []),
                *([kind["maximum"] + 1] if "maximum" in kind else []),
                *([kind["exclusiveMinimum"]] if "exclusiveMinimum" in kind else []),
                *([kind["exclusiveMaximum"]] if "exclusiveMaximum" in kind else []),
            ]
            yield from (({name: value}, f"{name}={value}: ") for value in beyond)
