import ast
import contextlib
import dataclasses
import importlib
import importlib.util
import os
import pickle
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import recbole
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data import utils as recbole_utils
from recbole.data.dataloader import KnowledgeBasedDataLoader
from recbole.data.dataset import Dataset
from recbole.data.dataset import dataset as recbole_dataset
from recbole.evaluator.collector import Collector, DataStruct
from recbole.model.general_recommender import ldiffrec
from recbole.sampler import Sampler
from recbole.trainer import trainer as recbole_trainer
from recbole.utils import get_model, get_trainer
from scipy.sparse import dok_matrix

from recbole_enhance.compat import files, mends
from recbole_enhance.testing.plain_recbole import trusted_torch_load

# These repair RecBole's own code, so no version of another package makes them superfluous.
ALWAYS = {
    "anomaly_mode",
    "collector_struct",
    "knowledge_loader_dataset",
    "knowledge_loader_generator",
    "pop_and_random",
    "download_barrier",
    "known_warnings",
    "popularity_of_training",
    "weights_only_files",
    "pretrained_checkpoint",
}
SINE = "recbole.model.sequential_recommender.sine"
MENDS = {
    *ALWAYS,
    "numpy_aliases",
    "dok_matrix_update",
    "grad_scaler",
    "optimizer_without_compiler",
    "loader_rows",
}
NUMPY_2 = int(np.__version__.split(".")[0]) >= 2
NUMPY_OWN = {"bool", "long"} if NUMPY_2 else {"float_", "complex_", "unicode_"}
WEIGHTS_ONLY_BY_DEFAULT = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 6)


def pristine(module):
    """A second copy of a module, which no mend has touched."""
    spec = importlib.util.find_spec(module)
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy


@pytest.fixture
def as_shipped(monkeypatch):
    """RecBole, numpy and scipy as they are before any mend, whatever ran earlier."""
    for name in set(mends._NUMPY_ALIASES) - NUMPY_OWN:
        monkeypatch.delitem(vars(np), name, raising=False)
    update = getattr(dok_matrix, "_update", None)
    if update is None or update.__module__ == mends.__name__:
        monkeypatch.delattr(dok_matrix, "_update", raising=False)
    shipped = pristine("recbole.evaluator.collector").Collector.get_data_struct
    monkeypatch.setattr(Collector, "get_data_struct", shipped)
    monkeypatch.delattr(KnowledgeBasedDataLoader, "dataset", raising=False)
    monkeypatch.delattr(KnowledgeBasedDataLoader, "generator", raising=False)
    for model in ("pop", "random"):
        name = f"recbole.model.general_recommender.{model}"
        own = vars(vars(pristine(name))[model.capitalize()])
        mended = vars(importlib.import_module(name))[model.capitalize()]
        for method in ("__init__", "calculate_loss", "predict", "full_sort_predict"):
            monkeypatch.setattr(mended, method, own[method])
    download = getattr(Dataset._download, "__wrapped__", Dataset._download)
    monkeypatch.setattr(Dataset, "_download", download)
    monkeypatch.setattr(recbole_trainer, "amp", torch.cuda.amp)
    create = recbole_utils._create_sampler
    monkeypatch.setattr(recbole_utils, "_create_sampler", getattr(create, "__wrapped__", create))
    candidates = pristine("recbole.sampler.sampler").Sampler._get_candidates_list
    monkeypatch.setattr(Sampler, "_get_candidates_list", candidates)
    monkeypatch.setattr(ldiffrec, "np", np)
    for name in files._READERS:
        monkeypatch.setattr(importlib.import_module(f"recbole.model.{name}"), "torch", torch)
    save = pristine("recbole.trainer.trainer").PretrainTrainer.save_pretrained_model
    monkeypatch.setattr(recbole_trainer.PretrainTrainer, "save_pretrained_model", save)
    monkeypatch.delitem(sys.modules, SINE, raising=False)
    torch.autograd.set_detect_anomaly(False)
    monkeypatch.setattr(mends, "_made", set())
    with warnings.catch_warnings():
        warnings.resetwarnings()
        yield


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A function that builds a model of RecBole's on 24 users and 16 items, by RecBole's means."""
    monkeypatch.setattr(sys, "argv", ["test"])  # RecBole's Config reads the command line
    draw = np.random.default_rng(0)
    pairs = [(u, i) for u in range(24) for i in draw.choice(16, size=8, replace=False)]
    lines = ["user_id:token\titem_id:token", *(f"u{u}\ti{i}" for u, i in pairs)]
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "tiny.inter").write_text("\n".join(lines) + "\n")

    def build(name, **options):
        settings = {
            "data_path": str(tmp_path),
            "load_col": {"inter": ["user_id", "item_id"]},
            "epochs": 1,
            "use_gpu": False,
            "topk": [5],
            "valid_metric": "MRR@5",
            "show_progress": False,
            **options,
        }
        config = Config(model=name, dataset="tiny", config_dict=settings)
        train, valid, test = data_preparation(config, create_dataset(config))
        model = get_model(name)(config, train.dataset)
        trainer_class = get_trainer(config["MODEL_TYPE"], name)
        return SimpleNamespace(
            model=model,
            train=train,
            valid=valid,
            test=test,
            trainer=lambda: trainer_class(config, model),
        )

    return build


def python(code):
    env = {**os.environ, "PYTHONPATH": str(Path(mends.__file__).parents[2])}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


def imported(file):
    """The top-level modules that a source file imports anywhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # escapes in RecBole's docstrings
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


class TestApply:
    def test_records_each_mend_once(self, as_shipped):
        applied = mends.apply()

        assert sorted(mend.name for mend in applied) == sorted(MENDS)
        assert {mend.name for mend in applied if mend.applied} >= ALWAYS
        assert all(mend.symptom for mend in applied)

    def test_is_idempotent(self, as_shipped):
        first = mends.apply()
        state = (Collector.get_data_struct, Dataset._download, recbole_trainer.amp)
        filters = list(warnings.filters)

        assert mends.apply() == first
        assert (Collector.get_data_struct, Dataset._download, recbole_trainer.amp) == state
        assert warnings.filters == filters

    def test_a_record_cannot_be_changed(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            mends.apply()[0].applied = None

    def test_stops_at_a_version_it_cannot_mend(self, as_shipped, monkeypatch):
        monkeypatch.setattr(pd, "__version__", "3.0.0")

        with pytest.raises(ValueError, match="pandas"):
            mends.apply()
        assert "float" not in vars(np)

    def test_needs_neither_ray_nor_pkg_resources_nor_quick_start(self):
        code = """
            import sys
            absent = "ray pkg_resources setuptools distutils thop hyperopt wandb".split()
            sys.modules.update(dict.fromkeys(absent))
            from recbole_enhance.compat import mends
            mends.apply()
            import recbole.config, recbole.data, recbole.evaluator, recbole.model, recbole.trainer
            import recbole.utils
            print([n for n in [*absent, "recbole.quick_start"] if sys.modules.get(n)])
        """
        assert python("if True:" + code).strip() == "[]"

    def test_imports_nothing_heavy_that_it_may_not_need(self):
        code = """
            import sys
            from recbole_enhance.compat import mends
            mends.apply()
            import recbole.trainer
            print([n for n in ("ray", "pkg_resources", "recbole.quick_start") if n in sys.modules])
        """
        assert python("if True:" + code).strip() == "[]"

    @pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "Adagrad", "RMSprop"])
    def test_an_optimizer_works_without_the_compiler(self, name):
        code = f"""
            import sys, torch
            from recbole_enhance.compat import mends
            from recbole_enhance.storage.resources import WithinMemory

            def train(kind):
                x = torch.ones(2, requires_grad=True)
                optimizer = kind([x], lr=0.1)
                optimizer.add_param_group({{"params": [torch.ones(1, requires_grad=True)]}})
                for _ in range(3):
                    x.square().sum().backward()
                    optimizer.step()
                    optimizer.zero_grad()
                    optimizer.load_state_dict(optimizer.state_dict())
                return x.tolist(), x.grad, len(optimizer.param_groups)

            class Untouched(torch.optim.{name}):
                step = torch.optim.{name}.step

            mends.apply()
            with WithinMemory():
                model = torch.nn.Linear(2, 1)
            print("optimizer_without_compiler" in [m.name for m in mends.apply() if m.applied])
            ours = train(torch.optim.{name})
            print("torch._dynamo" in sys.modules, ours == train(Untouched), ours[1:])
        """
        assert python("if True:" + code).splitlines() == ["True", "False True (None, 2)"]

    def test_the_step_of_an_optimizer_that_was_made_before_stays(self):
        code = """
            import torch
            from recbole_enhance.compat import mends
            torch.optim.Adam([torch.ones(1, requires_grad=True)])
            step = torch.optim.Adam.step
            mends.apply()
            print(torch.optim.Adam.step is step)
        """
        assert python("if True:" + code).split() == ["True"]

    def test_import_alone_changes_nothing(self):
        code = """
            import sys, warnings
            import numpy, torch
            before = set(vars(numpy)), list(warnings.filters)
            from recbole_enhance.compat import mends
            print((set(vars(numpy)), list(warnings.filters)) == before, "recbole" in sys.modules)
        """
        assert python("if True:" + code).split() == ["True", "False"]


class TestAnomalyMode:
    """RecBole's SINE switches it on for the process, whichever sequential model is imported."""

    CODE = """
        import torch
        from recbole_enhance.compat import mends
        torch.autograd.set_detect_anomaly({before})
        {first}
        mends.apply()
        from recbole.model.sequential_recommender.gru4rec import GRU4Rec
        print(torch.is_anomaly_enabled())
    """

    @pytest.mark.parametrize(
        ("before", "first", "after"),
        [
            (False, "", "False"),
            (True, "", "True"),  # the user's own wish stays
            (False, "mends.numpy_aliases(); import recbole.model.sequential_recommender", "False"),
        ],
    )
    def test_importing_a_sequential_model_does_not_switch_it_on(self, before, first, after):
        code = self.CODE.format(before=before, first=first)
        assert python("if True:" + code).strip() == after

    def test_recbole_alone_switches_it_on(self):
        code = """
            import torch
            from recbole_enhance.compat import mends
            mends.numpy_aliases()
            import recbole.model.sequential_recommender
            print(torch.is_anomaly_enabled())
        """
        assert python("if True:" + code).strip() == "True"

    def test_a_later_wish_of_the_user_stays(self, as_shipped):
        mends.apply()
        torch.autograd.set_detect_anomaly(True)
        mends.apply()
        try:
            assert torch.is_anomaly_enabled()
        finally:
            torch.autograd.set_detect_anomaly(False)


class TestVersions:
    def test_accepts_what_is_installed(self):
        mends.check_versions()

    @pytest.mark.parametrize("version", ["3.0.0", "3.0.0rc1", "10.1"])
    def test_refuses_a_pandas_that_keeps_missing_values(self, monkeypatch, version):
        monkeypatch.setattr(pd, "__version__", version)

        with pytest.raises(ValueError, match=rf"pandas {version} .* allowed is pandas<3"):
            mends.check_versions()

    @pytest.mark.parametrize("version", ["1.0.0", "1.2.0", "1.2.10"])
    def test_refuses_another_recbole(self, monkeypatch, version):
        monkeypatch.setattr(recbole, "__version__", version)

        with pytest.raises(ValueError, match=rf"recbole {version} .* exactly 1\.2\.1"):
            mends.check_versions()


class TestMissingPackages:
    def test_nothing_for_a_model_that_needs_nothing(self):
        assert mends.missing_packages("BPR") == {}

    def test_names_the_pip_package(self, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

        assert mends.missing_packages("KGIN") == {"KGIN": ("torch-scatter",)}
        assert mends.missing_packages("XGBoost") == {"XGBoost": ("lightgbm", "xgboost")}
        assert set(mends.missing_packages()) == set(mends._OPTIONAL_PACKAGES)

    def test_names_only_what_is_missing(self, monkeypatch):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name == "lightgbm" else name
        )

        lacks = ("lightgbm",)
        assert mends.missing_packages() == {"LightGBM": lacks, "XGBoost": lacks}

    @pytest.mark.skipif(sys.version_info < (3, 10), reason="needs the names of the stdlib")
    def test_the_table_agrees_with_the_source_of_recbole(self):
        usual = {*sys.stdlib_module_names, "recbole", "torch", "numpy", "scipy", "sklearn"}
        usual |= {"tqdm", "pandas"}
        found = {}
        for file in Path(recbole.__file__).parent.glob("model/*_recommender/*.py"):
            if unusual := imported(file) - usual:
                found[file.stem] = unusual
        both = found["lightgbm"] | found["xgboost"]  # each imports the package, so both files
        found.update(lightgbm=both, xgboost=both)

        table = {
            model.split()[0].lower(): {module for module, _ in needs}
            for model, needs in mends._OPTIONAL_PACKAGES.items()
        }
        assert found == table


class TestNumpyAliases:
    def test_adds_what_is_missing_without_a_warning(self, as_shipped):
        assert "float" not in vars(np)
        warnings.simplefilter("error")

        assert mends.numpy_aliases()

        for name, kind in mends._NUMPY_ALIASES.items():
            assert np.dtype(getattr(np, name)) == np.dtype(kind)

    def test_is_a_no_op_the_second_time(self, as_shipped):
        mends.numpy_aliases()

        assert not mends.numpy_aliases()

    def test_keeps_a_name_that_numpy_has(self, as_shipped, monkeypatch):
        monkeypatch.setitem(vars(np), "long", np.int32)

        mends.numpy_aliases()

        assert np.long is np.int32

    @pytest.mark.skipif(not NUMPY_2, reason="numpy 1 still has np.float_")
    def test_a_plain_config_fails_before_and_is_built_after(self, as_shipped, built):
        with pytest.raises(AttributeError, match="float_"):
            built("BPR")

        mends.numpy_aliases()

        assert built("BPR").model.n_items == 17


class TestDokMatrixUpdate:
    def test_fills_the_matrix(self, as_shipped):
        added = not hasattr(dok_matrix, "_update")
        assert mends.dok_matrix_update() == added

        matrix = dok_matrix((2, 3), dtype=np.float32)
        matrix._update({(0, 2): 1, (1, 0): 1})

        np.testing.assert_array_equal(matrix.toarray(), [[0, 0, 1], [1, 0, 0]])

    def test_is_a_no_op_where_scipy_has_it(self, as_shipped, monkeypatch):
        monkeypatch.setattr(dok_matrix, "_update", sentinel := object(), raising=False)

        assert not mends.dok_matrix_update()
        assert dok_matrix._update is sentinel

    def test_lightgcn_gets_the_normalised_adjacency(self, built):
        mends.apply()
        light = built("LightGCN")

        inter = light.train.dataset.inter_feat
        users, items = inter["user_id"].numpy(), inter["item_id"].numpy() + light.model.n_users
        size = light.model.n_users + light.model.n_items
        adjacency = np.zeros((size, size))
        adjacency[users, items] = adjacency[items, users] = 1
        scale = (adjacency.sum(1) + 1e-7) ** -0.5
        expected = scale[:, None] * adjacency * scale
        actual = light.model.norm_adj_matrix.to_dense().numpy()
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


class TestCollectorStruct:
    @pytest.fixture
    def collector(self):
        collector = object.__new__(Collector)
        collector.data_struct = DataStruct()
        collector.data_struct.set("data.num_items", 7)
        collector.data_struct.set("data.count_items", Counter({1: 4, 2: 1}))
        collector.data_struct.set("rec.items", torch.tensor([[1, 2]]))
        collector.data_struct.set("rec.of_a_plugin", [3])
        collector.data_struct.set("data.label", torch.ones(2))
        return collector

    def test_fails_before_and_hands_everything_over_after(self, as_shipped, collector):
        with pytest.raises(AttributeError, match="cpu"):
            collector.get_data_struct()

        assert mends.collector_struct()

        struct = collector.get_data_struct()
        assert struct.get("data.num_items") == 7
        assert struct.get("data.count_items") == {1: 4, 2: 1}
        assert struct.get("rec.items").tolist() == [[1, 2]]
        assert struct.get("rec.of_a_plugin") == [3]
        assert struct.get("data.label").tolist() == [1, 1]

    def test_keeps_only_what_the_next_evaluation_needs(self, collector):
        mends.collector_struct()
        collector.get_data_struct().get("data.count_items").clear()

        kept = collector.data_struct._data_dict
        assert kept == {"data.num_items": 7, "data.count_items": {1: 4, 2: 1}}

    def test_is_a_no_op_for_a_collector_that_works(self, as_shipped, monkeypatch):
        monkeypatch.setattr(Collector, "get_data_struct", works := lambda self: None)

        assert not mends.collector_struct()
        assert Collector.get_data_struct is works

    def test_four_metrics_are_right_from_end_to_end(self, built, monkeypatch):
        mends.apply()
        metrics = ["MRR", "ItemCoverage", "GiniIndex", "AveragePopularity", "TailPercentage"]
        bpr = built("BPR", metrics=metrics, metric_decimal_place=9, tail_ratio=8)
        trainer = bpr.trainer()
        trainer.fit(bpr.train, saved=False)
        structs = []
        hand_over = Collector.get_data_struct
        monkeypatch.setattr(
            Collector,
            "get_data_struct",
            lambda self: structs.append(struct := hand_over(self)) or struct,
        )

        result = trainer.evaluate(bpr.test, load_best_model=False)

        lists = structs[0].get("rec.items").tolist()
        shown = Counter(item for row in lists for item in row)
        seen = Counter(bpr.train.dataset.inter_feat["item_id"].tolist())
        n, total = bpr.model.n_items, sum(shown.values())
        ordered = sorted(shown[item] for item in range(n))
        gini = sum((2 * i - n - 1) * p for i, p in enumerate(ordered, start=1)) / (n * total)
        # RecBole takes a ratio above 1 as a count, and an item never seen for none of the tail.
        tail = sum(count for item, count in shown.items() if 0 < seen[item] <= 8) / total
        popularity = sum(count * seen[item] for item, count in shown.items()) / total
        assert 0 < tail < 1
        assert len(shown) / n == pytest.approx(result["itemcoverage@5"])
        assert gini == pytest.approx(result["giniindex@5"])
        assert popularity == pytest.approx(result["averagepopularity@5"])
        assert tail == pytest.approx(result["tailpercentage@5"])


class TestKnowledgeLoaderDataset:
    @pytest.fixture
    def loader(self):
        loader = object.__new__(KnowledgeBasedDataLoader)
        loader._dataset = SimpleNamespace(num=lambda field: 7, item_counter=Counter([3]))
        return loader

    @pytest.fixture
    def collector(self):
        collector = object.__new__(Collector)
        collector.config = {"ITEM_ID_FIELD": "item_id"}
        collector.data_struct = DataStruct()
        collector.register = SimpleNamespace(
            need=lambda key: key in {"data.num_items", "data.count_items"}
        )
        return collector

    def test_fails_before_and_works_after(self, as_shipped, loader, collector):
        with pytest.raises(AttributeError, match="dataset"):
            collector.data_collect(loader)

        assert mends.knowledge_loader_dataset()

        collector.data_collect(loader)
        assert collector.data_struct.get("data.num_items") == 7
        assert collector.data_struct.get("data.count_items") == {3: 1}

    def test_is_a_no_op_where_there_is_one(self, as_shipped, monkeypatch):
        monkeypatch.setattr(KnowledgeBasedDataLoader, "dataset", "its own", raising=False)

        assert not mends.knowledge_loader_dataset()
        assert KnowledgeBasedDataLoader.dataset == "its own"


class TestDownloadBarrier:
    @pytest.fixture
    def dataset(self, tmp_path, monkeypatch):
        dataset = object.__new__(Dataset)
        dataset.config = {"local_rank": 0}
        dataset.dataset_name = "tiny"
        dataset.dataset_path = str(tmp_path / "downloaded")
        dataset.logger = SimpleNamespace(info=lambda text: None)
        dataset._get_download_url = lambda kind: "an address"
        (tmp_path / "tiny.zip").touch()
        for name, fake in {
            "decide_download": lambda url: True,
            "download_url": lambda url, folder: str(tmp_path / "tiny.zip"),
            "extract_zip": lambda path, folder: None,
            "rename_atomic_files": lambda folder, old, new: None,
        }.items():
            monkeypatch.setattr(recbole_dataset, name, fake)
        return dataset

    def test_fails_before_and_works_after(self, as_shipped, dataset, tmp_path):
        with pytest.raises((RuntimeError, ValueError), match="process group"):
            dataset._download()

        assert mends.download_barrier()
        assert not mends.download_barrier()

        barrier = torch.distributed.barrier
        os.rmdir(dataset.dataset_path)
        (tmp_path / "tiny.zip").touch()
        dataset._download()
        assert os.path.isdir(dataset.dataset_path)
        assert torch.distributed.barrier is barrier

    def test_processes_still_wait_for_each_other(self, dataset, monkeypatch):
        mends.download_barrier()
        waits = []
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "barrier", lambda: waits.append(1))

        dataset._download()

        assert waits == [1]


class TestGradScaler:
    deprecated = hasattr(torch.cuda.amp.GradScaler.__init__, "__deprecated__")

    @pytest.mark.skipif(not deprecated, reason="this torch does not deprecate it")
    def test_warns_before_and_not_after(self, as_shipped):
        with pytest.warns(FutureWarning, match="GradScaler"):
            recbole_trainer.amp.GradScaler(enabled=False)

        assert mends.grad_scaler()

        warnings.simplefilter("error", FutureWarning)
        scaler = recbole_trainer.amp.GradScaler(enabled=False)
        assert isinstance(scaler, torch.amp.GradScaler)
        assert not scaler.is_enabled()
        with recbole_trainer.amp.autocast(enabled=False):
            pass

    def test_is_a_no_op_without_a_deprecation(self, as_shipped, monkeypatch):
        present = SimpleNamespace(GradScaler=type("GradScaler", (), {}))
        monkeypatch.setattr(recbole_trainer, "amp", present)

        assert not mends.grad_scaler()
        assert recbole_trainer.amp is present


class TestKnownWarnings:
    MESSAGES = (
        (
            FutureWarning,
            "A value is trying to be set on a copy of a DataFrame or Series through "
            "chained assignment using an inplace method.\nThe",
            "recbole.data.dataset.dataset",
        ),
        (
            FutureWarning,
            "using <built-in function len> in Series.agg cannot aggregate and has been",
            "recbole.data.dataset.sequential_dataset",
        ),
        (
            UserWarning,
            "torch.sparse.SparseTensor(indices, values, shape, *, device=) is deprecated",
            "recbole.model.general_recommender.lightgcn",
        ),
        (
            UserWarning,
            "Creating a tensor from a list of numpy.ndarrays is extremely slow. Please",
            "recbole.model.general_recommender.dmf",
        ),
        (
            RuntimeWarning,
            "divide by zero encountered in power",
            "recbole.model.knowledge_aware_recommender.kgin",
        ),
    )

    @pytest.fixture
    def heard(self, as_shipped):
        def heard(category, message, module):
            with pytest.MonkeyPatch.context() as patch:
                shown = []
                patch.setattr(warnings, "showwarning", lambda *args, **kw: shown.append(args[0]))
                warnings.warn_explicit(message, category, "file.py", 1, module=module)
            return bool(shown)

        return heard

    @pytest.mark.parametrize(("category", "message", "module"), MESSAGES)
    def test_silences_one_line_of_recbole_and_nothing_else(self, heard, category, message, module):
        assert heard(category, message, module)

        assert mends.known_warnings()

        assert not heard(category, message, module)
        assert heard(category, message, "a_users.own_module")
        assert heard(category, "something else", module)

    def test_is_a_no_op_the_second_time(self, as_shipped):
        mends.known_warnings()

        assert not mends.known_warnings()

    def test_a_filter_of_the_user_wins(self, as_shipped):
        warnings.simplefilter("error")
        mends.known_warnings()

        category, message, module = self.MESSAGES[0]
        with pytest.raises(FutureWarning):
            warnings.warn_explicit(message, category, "file.py", 1, module=module)

    @pytest.mark.parametrize("model", ["BPR", "NGCF", "MultiVAE"])
    def test_a_normal_run_is_silent(self, as_shipped, built, model):
        with warnings.catch_warnings(record=True) as seen:
            # As Python starts: deprecations are for developers, the rest is shown.
            warnings.simplefilter("ignore", DeprecationWarning)
            mends.apply()
            run = built(
                model,
                train_neg_sample_args=None
                if model == "MultiVAE"
                else {
                    "distribution": "uniform",
                    "sample_num": 1,
                    "alpha": 1.0,
                    "dynamic": False,
                    "candidate_num": 0,
                },
            )
            trainer = run.trainer()
            trainer.fit(run.train, run.valid, saved=False)
            trainer.evaluate(run.test, load_best_model=False)

        assert [str(w.message) for w in seen if "site-packages/recbole/" in w.filename] == []


class TestRedirectTensorboard:
    def test_writes_nothing_without_a_writer(self, built, tmp_path):
        mends.apply()
        bpr = built("BPR")

        with mends.redirect_tensorboard() as writer:
            trainer = bpr.trainer()
        trainer.fit(bpr.train, bpr.valid, saved=False)

        assert trainer.tensorboard is writer
        writer.close()
        assert not (tmp_path / "log_tensorboard").exists()

    def test_a_plain_trainer_makes_the_folder(self, built, tmp_path):
        mends.apply()
        built("BPR").trainer().tensorboard.close()

        assert (tmp_path / "log_tensorboard").is_dir()

    def test_the_given_writer_gets_the_values(self, built):
        mends.apply()
        bpr = built("BPR")
        tags = []
        writer = SimpleNamespace(
            add_scalar=lambda tag, value, step: tags.append(tag),
            add_hparams=lambda options, result: tags.append(*result),
        )

        with mends.redirect_tensorboard(writer):
            trainer = bpr.trainer()
        trainer.fit(bpr.train, bpr.valid, saved=False)

        assert tags == ["Loss/Train", "Vaild_score", "hparam/best_valid_result"]

    def test_restores_the_name_also_after_an_error(self):
        shipped = recbole_trainer.get_tensorboard

        with contextlib.suppress(KeyError), mends.redirect_tensorboard():
            assert recbole_trainer.get_tensorboard is not shipped
            raise KeyError

        assert recbole_trainer.get_tensorboard is shipped


class Bomb:
    """An object whose unpickling leaves a file behind."""

    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


class TestTrustedTorchLoad:
    @pytest.fixture
    def bpr(self, built):
        mends.apply()
        return built("BPR")

    @pytest.mark.skipif(not WEIGHTS_ONLY_BY_DEFAULT, reason="this torch unpickles anything")
    def test_plain_recbole_fails_before(self, bpr):
        trainer = bpr.trainer()
        trainer.fit(bpr.train, bpr.valid)

        with pytest.raises(pickle.UnpicklingError):
            trainer.evaluate(bpr.test)

    def test_reads_back_and_resumes_what_was_saved_inside(self, bpr):
        with trusted_torch_load():
            trainer = bpr.trainer()
            trainer.fit(bpr.train, bpr.valid)
            expected = trainer.evaluate(bpr.test, load_best_model=False)
            torch.nn.init.zeros_(bpr.model.user_embedding.weight)

            assert trainer.evaluate(bpr.test) == expected
            trainer.resume_checkpoint(trainer.saved_model_file)
            assert trainer.start_epoch == 1

    def test_never_unpickles_a_foreign_file(self, bpr, tmp_path):
        torch.save({"state_dict": {}, "config": Bomb()}, "foreign.pth")

        with trusted_torch_load():
            trainer = bpr.trainer()
            with pytest.raises(pickle.UnpicklingError):
                trainer.evaluate(bpr.test, model_file="foreign.pth")
            with pytest.raises(pickle.UnpicklingError):
                trainer.resume_checkpoint("foreign.pth")

        assert not (tmp_path / "exploded").exists()

    def test_a_file_exchanged_after_saving_is_foreign(self, bpr, tmp_path):
        with trusted_torch_load():
            trainer = bpr.trainer()
            trainer.fit(bpr.train, bpr.valid)
            torch.save({"state_dict": {}, "config": Bomb()}, trainer.saved_model_file)
            with pytest.raises(pickle.UnpicklingError):
                trainer.evaluate(bpr.test)

        assert not (tmp_path / "exploded").exists()

    def test_the_next_block_trusts_nothing(self, bpr):
        with trusted_torch_load():
            trainer = bpr.trainer()
            trainer.fit(bpr.train, bpr.valid)

        with trusted_torch_load(), pytest.raises(pickle.UnpicklingError):
            trainer.evaluate(bpr.test)

    def test_apply_leaves_torch_load_alone(self):
        load = torch.load
        mends.apply()

        assert torch.load is load
        assert recbole_trainer.torch is torch

    def test_restores_the_name_also_after_an_error(self):
        with contextlib.suppress(KeyError), trusted_torch_load():
            assert recbole_trainer.torch is not torch
            raise KeyError

        assert recbole_trainer.torch is torch
