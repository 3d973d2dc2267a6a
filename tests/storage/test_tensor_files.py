import numpy as np
import pytest
import scipy.sparse
import torch

from recbole_enhance.options.errors import RunFolderError
from recbole_enhance.storage.tensor_files import dump_tensors, load_tensors


def there_and_back(tmp_path, **content):
    (tmp_path / "file").write_bytes(dump_tensors({"label": "BPR", **content}))
    return load_tensors(tmp_path / "file", "BPR", "cpu")


@pytest.mark.parametrize(
    "kind", ["float32", "float64", "int8", "uint16", "uint32", "uint64", "bool"]
)
def test_an_array_keeps_its_type_and_its_numbers(tmp_path, kind):
    array = np.array([[0, 1], [7, 120]]).astype(kind)
    found = there_and_back(tmp_path, other={"x": [array, (array.T,)]})["other"]["x"]
    assert found[0].dtype == found[1][0].dtype == kind
    np.testing.assert_array_equal(found[0], array)
    np.testing.assert_array_equal(found[1][0], array.T)


@pytest.mark.parametrize("layout", ["csr", "csc", "coo", "lil", "dok"])
def test_a_sparse_matrix_keeps_its_layout_and_its_cells(tmp_path, layout):
    matrix = scipy.sparse.random(5, 7, 0.3, format=layout, random_state=0)
    found = there_and_back(tmp_path, matrix=matrix)["matrix"]
    assert found.format == layout
    np.testing.assert_array_equal(found.toarray(), matrix.toarray())


def test_plain_values_come_back_as_they_are(tmp_path):
    plain = {"none": None, "flag": True, "text": "x", "numbers": (1, 2.5)}
    found = there_and_back(tmp_path, **plain, scalar=np.float64(0.5), weight=torch.eye(2))
    assert {key: found[key] for key in plain} == plain
    assert found["scalar"] == 0.5
    assert type(found["scalar"]) is float
    assert torch.equal(found["weight"], torch.eye(2))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"label": "NeuMF", "run": "1"}, "belongs to NeuMF, this run is BPR"),
        ({"label": "BPR", "run": "2"}, "belongs to a run with other options or another seed"),
        ({"label": "BPR"}, "belongs to a run with other options or another seed"),
        ({"run": "1"}, "not a checkpoint of recbole_enhance"),
        ({"label": "BPR", "run": "1", "format": 9}, "not a checkpoint of recbole_enhance"),
    ],
)
def test_a_file_of_something_else_is_named(tmp_path, content, problem):
    (tmp_path / "file").write_bytes(dump_tensors(content))
    with pytest.raises(RunFolderError, match=problem) as error:
        load_tensors(tmp_path / "file", "BPR", "cpu", run="1")
    assert error.value.path == tmp_path / "file"


def test_a_file_that_is_none_of_tensors_is_named(tmp_path):
    (tmp_path / "file").write_text("weights")
    with pytest.raises(RunFolderError, match="not a checkpoint of tensors and plain values"):
        load_tensors(tmp_path / "file", "BPR", "cpu")
    with pytest.raises(RunFolderError, match="no such file"):
        load_tensors(tmp_path / "other", "BPR", "cpu")
