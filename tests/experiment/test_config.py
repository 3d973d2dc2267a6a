import pytest
from recbole.model.general_recommender import BPR

from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.names import get_model_class, recbole_models
from recbole_enhance.testing.worlds import TOY, toy_options, write_toy


def toy_config(toy, model="BPR", command_line=None, files=None, **options):
    return Config(
        config_file_list=files,
        config_dict=toy_options(toy, model, **options),
        command_line=command_line,
    )


def test_two_axes_become_recboles_names(toy):
    config = toy_config(toy, "DVR", backbone="LightGCN")
    assert (config["model"], config["enhancer"], config["label"]) == (
        "LightGCN",
        "DVR",
        "DVR-LightGCN",
    )
    assert config["n_layers"] == 2  # from RecBole's LightGCN.yaml
    assert config["dvr_blocks"] == 2
    assert toy_config(toy, "DVR")["model"] == "BPR"
    plain = toy_config(toy, "lightgcn")
    assert (plain["model"], plain["enhancer"], plain["label"]) == ("LightGCN", None, "LightGCN")
    assert "dvr_blocks" not in plain


def test_a_class_is_a_model_too(toy):
    class MyBPR(BPR):
        pass

    options = {key: value for key, value in toy_options(toy, "x").items() if key != "model"}
    assert Config(MyBPR, config_dict=options)["model"] == "MyBPR"


def test_priority(toy, tmp_path):
    (tmp_path / "a.yaml").write_text("learning_rate: 0.5\nepochs: 5\n")
    files = [tmp_path / "a.yaml"]
    config = toy_config(toy, files=files)
    assert config["learning_rate"] == 0.5
    assert config["epochs"] == TOY["epochs"]  # config_dict comes after files
    config = toy_config(toy, files=files, command_line={"epochs": "7"})
    assert config["epochs"] == 7
    assert config.origins["epochs"] == "command line"
    assert config.origins["learning_rate"].endswith("a.yaml")
    assert config.origins["train_neg_sample_args.alpha"] == "recbole: overall.yaml"


def test_a_dotted_key_keeps_the_rest_of_the_protocol(toy):
    config = toy_config(toy, "SASRec", command_line={"eval_args.mode": "uni10"})
    assert config["eval_args"]["order"] == "TO"
    assert config["eval_args"]["split"] == {"LS": "valid_and_test"}
    assert config["eval_args"]["mode"] == {"valid": "uni10", "test": "uni10"}


def test_dataset_configs_apply_by_model_type():
    general, sequential = (Config(m, "ml-100k") for m in ("BPR", "SASRec"))
    assert general["valid_metric"] == "NDCG@20"
    assert sequential["eval_args"]["order"] == "TO"
    assert Config("BPR", "ml-100k", config_dict={"variant": "paper"})["val_interval"]
    with pytest.raises(ValueError, match=r"variant=none: ml-100k has paper"):
        Config("BPR", "ml-100k", config_dict={"variant": "none"})


def test_a_dataset_without_a_file_loads_what_its_columns_allow(toy):
    config = Config("BPR", "toy", config_dict={"data_path": str(toy)})
    assert config["load_col"] == {"inter": ["user_id", "item_id", "rating", "timestamp"]}
    assert config.origins["load_col"] == "columns of toy.inter"


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("BPPR", {}, r"model=BPPR: unknown model; did you mean BPR\?"),
        ("DVR", {"backbone": "MultiVAE"}, r"backbone=MultiVAE: .*backbones that work: BPR"),
        ("DVR", {"backbone": "SASRec"}, r"backbone=SASRec"),
        ("DVR", {"backbone": "SGL"}, r"backbone=SGL"),
        ("BPR", {"backbone": "LightGCN"}, r"backbone=LightGCN: BPR is not a method"),
        ("xgboost", {}, r"model=xgboost"),
        ("BPR", {"learnng_rate": 1}, r"learnng_rate: unknown option.*did you mean learning_rate\?"),
        ("BPR", {"dvr_eps": 0.1}, r"dvr_eps: an option of DVR"),
        ("DVR", {"dvr_esp": 0.1}, r"dvr_esp: unknown option.*dvr_eps"),
        ("BPR", {"valid_metric": "MRR@10"}, r"valid_metric=MRR@10: not one of metrics"),
        ("BPR", {"valid_metric": "NDCG@7"}, r"valid_metric=NDCG@7: with topk=.* NDCG@5, NDCG@10"),
        ("BPR", {"valid_metric": "NDCG"}, r"valid_metric=NDCG"),
        ("BPR", {"metrics": ["Recal"]}, r"metrics=Recal: unknown metric; did you mean Recall\?"),
        ("BPR", {"topk": [0]}, r"topk=\[0\]"),
        ("BPR", {"epochs": "many"}, r"epochs=many: a number is expected"),
        ("BPR", {"epochs": 1.5}, r"epochs=1.5: a whole number is expected"),
        ("BPR", {"train_batch_size": 0}, r"train_batch_size=0: must be above 0"),
        ("BPR", {"quiet": "maybe"}, r"quiet=maybe: true or false"),
        ("BPR", {"dataset_save_path": "x.pth"}, r"dataset_save_path=x.pth: pickled"),
        ("BPR", {"dataset": "none"}, r"none.inter.*data_path"),
        ("BPR", {"dataset": "../toy"}, r"\.\./toy"),
        ("BPR", {"load_col": {"inter": ["user_id", "item_id", "ratng"]}}, r"ratng.*rating"),
        ("BPR", {"eval_args": {"mode": "all"}}, r"eval_args.mode=all: full, labeled, uni100"),
        ("BPR", {"eval_args": {"mode": "uni0"}}, r"eval_args.mode=uni0: full"),
        ("BPR", {"eval_args": {"mode": "uni"}}, r"eval_args.mode=uni: full"),
        ("BPR", {"eval_args": {"mode": "uniform"}}, r"eval_args.mode=uniform: full"),
        ("BPR", {"eval_args": {"mode": 5}}, r"eval_args.mode=5: full"),
        ("BPR", {"eval_args": {"mode": ["full"]}}, r"eval_args.mode=\['full'\]: full"),
        ("BPR", {"eval_args": {"mode": {}}}, r"eval_args.mode={}: valid and test"),
        (
            "BPR",
            {"eval_args": {"mode": {"vaild": "full"}}},
            r"eval_args.mode.vaild: unknown option \(config_dict\); did you mean valid",
        ),
        ("BPR", {"eval_args": {"mode": {"test": "all"}}}, r"eval_args.mode.test=all: full"),
        ("BPR", {"stopping_step": -1}, r"stopping_step=-1: must not be below 0"),
        ("BPR", {"eval_step": -3}, r"eval_step=-3: must not be below 0"),
        ("EASE", {"reg_weight": -1}, r"reg_weight=-1: must not be below 0"),
        ("ItemKNN", {"k": 0}, r"k=0: must be above 0"),
        ("ItemKNN", {"k": 2.5}, r"k=2.5: a whole number"),
        ("ItemKNN", {"shrink": -1}, r"shrink=-1: must not be below 0"),
        ("NeuMF", {"dropout_prob": 2}, r"dropout_prob=2: must be between 0 and 1"),
        ("SASRec", {"attn_dropout_prob": -0.1}, r"attn_dropout_prob=-0.1: must be between 0 and"),
        ("BPR", {"metric_decimal_place": -1}, r"metric_decimal_place=-1: must not be below 0"),
        ("BPR", {"epochs": -1}, r"epochs=-1: must not be below 0"),
        ("BPR", {"worker": -1}, r"worker=-1: must not be below 0"),
        ("BPR", {"clip_grad_norm": 5}, r"clip_grad_norm=5: a mapping such as {max_norm: 5}"),
        ("BPR", {"clip_grad_norm": {"max": 5}}, r"clip_grad_norm={'max': 5}: a mapping"),
        ("BPR", {"clip_grad_norm": {"max_norm": 0}}, r"clip_grad_norm={'max_norm': 0}: a map"),
        ("BPR", {"log_wandb": True}, r"log_wandb=True: needs wandb: .* install .*wandb>="),
        (
            "BPR",
            {"eval_args": {"ordr": "RO"}},
            r"eval_args.ordr: unknown option \(config_dict\); did you mean order",
        ),
        ("BPR", {"eval_args": {"order": "XX"}}, r"eval_args.order=XX: one of RO, TO"),
        ("BPR", {"eval_args": {"group_by": "item"}}, r"eval_args.group_by=item: one of user, none"),
        ("BPR", {"eval_args": {"split": {"RS": [1, 2]}}}, r"eval_args.split={'RS': \[1, 2\]}"),
        ("BPR", {"eval_args": {"split": 5}}, r"eval_args.split=5"),
        ("BPR", {"eval_args": 5}, r"eval_args=5: a mapping"),
        ("BPR", {"train_neg_sample_args": {"sample_num": 0}}, r"sample_num=0: a whole number"),
        ("BPR", {"train_neg_sample_args": {"sample_num": True}}, r"sample_num=True: a whole numb"),
        ("BPR", {"unload_col": [-1]}, r"unload_col=\[-1\]: a mapping is expected"),
        ("BPR", {"unused_col": "rating"}, r"unused_col=rating: a mapping is expected"),
        ("BPR", {"seq_len": 3}, r"seq_len=3: a mapping is expected"),
        ("BPR", {"preload_weight": 0.5}, r"preload_weight=0.5: a mapping is expected"),
        ("BPR", {"normalize_field": 0}, r"normalize_field=0: a list is expected"),
        ("BPR", {"numerical_features": [1]}, r"numerical_features=\[1\]: a list is expected"),
        ("BPR", {"save_step": "a"}, r"save_step=a: a number is expected"),
        ("BPR", {"convert_token_to_onehot": 2}, r"convert_token_to_onehot=2: true or false"),
        ("BPR", {"LIST_SUFFIX": []}, r"LIST_SUFFIX=\[\]: text is expected"),
        ("BPR", {"train_neg_sample_args": {"num": 1}}, r"train_neg_sample_args.num: unknown"),
        ("BPR", {"user_inter_num_interval": "abc"}, r"user_inter_num_interval=abc: an interval"),
        ("BPR", {"val_interval": {"rating": "3,4"}}, r"val_interval.rating=3,4: an interval"),
        ("BPR", {"val_interval": 5}, r"val_interval=5: a mapping"),
        ("BPR", {"learner": "adm"}, r"learner=adm: one of adam"),
        ("BPR", {"learning_rate": float("nan")}, r"learning_rate=nan: a finite number"),
        ("BPR", {"seed": -1}, r"seed=-1: must be at least 0"),
        ("BPR", {"run_dir": [1]}, r"run_dir=\[1\]: text is expected"),
        ("BPR", {"data_path": None}, r"data_path=None: the folder"),
        ("BPR", {"topk": []}, r"topk=\[\]: whole numbers"),
        ("BPR", {"benchmark_filename": "train"}, r"benchmark_filename=train: three names"),
        ("FM", {}, r"threshold=None: eval_args.mode=labeled needs labels: threshold={rating: 4}"),
        ("FM", {"eval_args": {"mode": "uni5"}}, r"threshold=None: FM needs labels"),
        ("NeuMF", {"train_neg_sample_args": None}, r"threshold=None: NeuMF needs labels"),
        ("BPR", {"eval_args": {"mode": "labeled"}}, r"eval_args.mode=labeled: .* rank items"),
        ("BPR", {"train_neg_sample_args": None}, r"distribution=none: BPR compares with negat"),
        ("BPR", {"eval_args": None}, r"eval_args=None: a mapping"),
        ("BPR", {"eval_args": {"split": {"RS": [0, 0.5, 0.5]}}}, r"eval_args.split={'RS': \[0, "),
        ("BPR", {"loss_decimal_place": -1}, r"loss_decimal_place=-1: must not be below 0"),
        ("BPR", {"weight_decay": -1}, r"weight_decay=-1: must not be below 0"),
        (
            "SASRec",
            {"MAX_ITEM_LIST_LENGTH": 0},
            r"MAX_ITEM_LIST_LENGTH=0: must be a whole number above 0",
        ),
        ("BPR", {"train_neg_sample_args": {"distribution": "x"}}, r"distribution=x: uniform, pop"),
        ("BPR", {"train_neg_sample_args": {"alpha": "x"}}, r"args.alpha=x: a number"),
        ("BPR", {"train_neg_sample_args": {"dynamic": 3}}, r"args.dynamic=3: true or false"),
        ("BPR", {"train_neg_sample_args": {"dynamic": True}}, r"candidate_num=0: .* above 0"),
        ("BPR", {"train_neg_sample_args": {"candidate_num": 1.5}}, r"candidate_num=1.5: a whole"),
        ("BPR", {"learner": "sparse_adam"}, r"learner=sparse_adam: BPR has no sparse embeddings"),
        ("BPR", {"state": "loud"}, r"state=loud: one of debug"),
        ("BPR", {"rm_dup_inter": "all"}, r"rm_dup_inter=all: one of first, last"),
        ("BPR", {"gpu_id": "abc"}, r"gpu_id=abc: numbers such as 0 or 0,1"),
        ("BPR", {"threshold": 3}, r"threshold=3: a mapping"),
        ("BPR", {"threshold": {"rating": "a"}}, r"threshold={'rating': 'a'}: one column and a nu"),
        ("BPR", {"threshold": {"rating": 1, "b": 1}}, r"threshold=.*: one column and a number"),
        ("BPR", {"field_separator": None}, r"field_separator=None: a separator"),
        ("BPR", {"seq_separator": ""}, r"seq_separator=.*: a separator"),
        ("BPR", {"run_dir": "a\0b"}, r"run_dir='a\\x00b': must not hold a zero byte"),
        ("BPR", {"clip_grad_norm": {"max_norm": 1, "norm_type": "x"}}, r"clip_grad_norm=.*mapping"),
        ("SASRec", {"loss_type": "XX"}, r"loss_type=XX: must be one of BPR, CE"),
        ("BPR", {"device": "cuda"}, r"device: this option cannot be set .*use_gpu and gpu_id"),
        ("BPR", {"MODEL_TYPE": 3}, r"MODEL_TYPE: this option cannot be set"),
        ("DVR", {"backbone": "BPPR"}, r"^backbone=BPPR: unknown model; did you mean BPR"),
        ({"x": 3}, {}, r"model={'x': 3}: a name or a class is expected"),
        ("BPR", {"variant": ["a"]}, r"variant=\['a'\]: toy has no variants"),
        ("DVR", {"dvr_learning_rate": float("inf")}, r"dvr_learning_rate=inf: a finite number"),
        ("DVR", {"dvr_reward": "ndgc@5"}, r"dvr_reward=ndgc@5"),
        ("DVR", {"dvr_reward": "ndcg"}, r"dvr_reward=ndcg"),
        ("DVR", {"dvr_reward": "cc@5", "item_category_field": None}, r"item_category_field"),
        ("DVR", {"dvr_network": "x"}, r"dvr_network=x: must be one of content, slot"),
        ("DVR", {"dvr_eps": 0.5}, r"dvr_eps=0.5"),
        ("DVR", {"dvr_act_ratio": 0}, r"dvr_act_ratio=0"),
        ("DVR", {"dvr_units": 0}, r"dvr_units=0"),
        ("DVR", {"dvr_baseline_momentum": 1.0}, r"dvr_baseline_momentum=1.0"),
        ("DVR", {"dvr_exploration": -1}, r"dvr_exploration=-1"),
        ("DVR", {"eval_step": 0}, r"eval_step=0"),
    ],
)
def test_bad_input_is_refused_in_one_line(toy, model, options, message):
    if model == "FM":
        options = {"metrics": ["AUC"], "valid_metric": "AUC", **options}
    with pytest.raises(ValueError, match=message):
        toy_config(toy, model, **options)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("MultiVAE", {"train_neg_sample_args": None}),
        ("ItemKNN", {"train_neg_sample_args": None}),
        ("Pop", {"train_neg_sample_args": None}),
        ("SASRec", {}),
        ("DIN", {}),
        ("FM", {"threshold": {"rating": 4}}),
        ("FM", {"LABEL_FIELD": "rating"}),
        (
            "FM",
            {"train_neg_sample_args": {"distribution": "uniform"}, "eval_args": {"mode": "uni5"}},
        ),
        ("NeuMF", {"train_neg_sample_args": None, "threshold": {"rating": 4}}),
    ],
)
def test_models_that_need_no_labels_or_have_them_are_taken(toy, model, options):
    if model in ("FM", "DIN"):
        options = {"metrics": ["AUC"], "valid_metric": "AUC", **options}
    toy_config(toy, model, **options)


def test_names_on_the_command_line_are_text(toy, tmp_path):
    write_toy(tmp_path, "007")
    line = {"model": "BPR", "dataset": "007", "data_path": str(tmp_path), "run_dir": "2024"}
    for config in (Config(command_line=line), Config(config_dict=line)):
        assert (config["dataset"], config["run_dir"]) == ("007", "2024")
    nothing = Config(command_line={**line, "run_dir": "None", "backbone": "~"})
    assert nothing["run_dir"] is None


@pytest.mark.parametrize("interval", ["[5,inf)", "(0,1];[3,4.5)", "[-1e3, 2]"])
def test_intervals_of_recbole_are_taken(toy, interval):
    config = toy_config(toy, user_inter_num_interval=interval, val_interval={"rating": interval})
    assert str(config["user_inter_num_interval"]) == interval.replace("[-1e3, 2]", "[-1000.0, 2]")


def test_missing_packages_are_named(toy):
    with pytest.raises(ValueError, match=r"model=KGAT: .*dgl"):
        toy_config(toy, "KGAT")


def test_every_recbole_model_is_known():
    models = recbole_models()
    assert len(models) > 90
    for name in ("BPR", "SASRec", "FM", "CFKG", "Random", "LDiffRec"):
        assert get_model_class(name.lower()).__name__ == name


def test_recboles_lists_stay_as_they_are(toy):
    from recbole.utils.argument_list import dataset_arguments

    before = list(dataset_arguments)
    Config("BPR", "ml-100k")
    assert dataset_arguments == before


def test_another_separator_is_used_for_the_default_columns(tmp_path):
    (tmp_path / "comma").mkdir()
    (tmp_path / "comma" / "comma.inter").write_text("user_id:token,item_id:token\nu,i\n")
    line = {"data_path": str(tmp_path), "field_separator": ","}
    assert Config("BPR", "comma", command_line=line)["load_col"]["inter"] == ["user_id", "item_id"]
