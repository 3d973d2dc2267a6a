"""What a board reads of a run's files: the kinds of the values, whoever wrote them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from recbole_enhance.options.errors import RunFolderError

_Number = int | float | None
_Text = str | None
_Scalar = str | int | float | bool | None


class _Read(BaseModel):
    """A mapping of which we read these entries; others may be there."""

    model_config = ConfigDict(strict=True, extra="allow")


class Report(_Read):
    """``metrics.json``."""

    test_result: dict[str, _Number]
    label: str
    dataset: str
    seed: int
    enhancer: _Text = None
    backbone: _Text = None
    model_type: _Text = None
    variant: _Scalar = None
    best_epoch: int | None = None
    best_valid_score: _Number = None
    best_valid_result: dict[str, _Number] | None = None
    epochs_run: _Number = None
    parameters: _Number = None
    train_seconds_per_epoch: _Number = None
    peak_memory_mb: _Number = None
    peak_gpu_memory_mb: _Number = None
    seconds: dict[str, _Number] | None = None


class Environment(_Read):
    """``env.json``."""

    data_sha256: dict[str, str] | None = None
    code_sha256: dict[str, str] | None = None
    versions: dict[str, _Text] | None = None
    python: _Text = None
    git_commit: _Text = None
    gpu: _Text = None
    cpu_threads: int | None = None


class RunOptions(_Read):
    """``config.yaml``."""

    metric_decimal_place: int | None = Field(default=None, ge=0, le=15)
    metrics: list[str] | str | None = None
    topk: list[int] | int | None = None
    valid_metric: _Text = None
    load_col: dict[str, list[str] | str | None] | None = None
    eval_args: dict[str, Any] | None = None
    benchmark_filename: list[str] | str | None = None
    item_category_field: _Text = None


class BoardSpec(_Read):
    """``board.yaml``."""

    rows: list[dict[str, Any]] | None = None
    attack: dict[str, Any] | None = None
    explain: dict[str, Any] | None = None
    history_columns: list[str] | None = None


def checked(schema: type[_Read], path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse a file in which an entry that we read is of another kind.

    Args:
        schema: What we read.
        path: The file, for the message.
        content: Of it.

    Returns:
        The content.

    Raises:
        RunFolderError: Naming the file, the entry and what is wrong with it.
    """
    try:
        TypeAdapter(schema).validate_python(dict(content))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        kinds = (part for part in first["loc"] if not isinstance(part, str) or part not in _KINDS)
        entry = ".".join(str(part) for part in kinds)
        raise RunFolderError(path, f"{entry}: {first['msg']}") from error
    return dict(content)


_KINDS = ("int", "float", "str", "bool", "list[str]", "list[int]")  # pydantic names those it tried
