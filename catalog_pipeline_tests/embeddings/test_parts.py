"""Parts of vectors: what is written is read again, and no damage gives a wrong vector."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_pipeline.embeddings.parts import (
    MAX_VECTORS,
    read_vectors,
    write_part,
)
from catalog_pipeline.embeddings.problems import MissingPartError, PartError
from catalog_pipeline.files import DataFolder


def _rows(count: int, dimensions: int = 8) -> tuple[list[str], npt.NDArray[np.float32]]:
    shas = [hashlib.sha256(str(row).encode()).hexdigest() for row in range(count)]
    values = np.random.default_rng(count).standard_normal((count, dimensions))
    return shas, values.astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_what_was_written_is_read_row_by_row(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 2500))
    shas, vectors = _rows(count, data.draw(st.integers(1, 20)))
    rows = data.draw(st.lists(st.integers(0, count - 1), max_size=20))
    with tempfile.TemporaryDirectory() as root:
        files = DataFolder(root)
        part = write_part(files, "tiny-1a2b3c4d-5e6f7a8b", shas, vectors)
        every_sha, every_vector = read_vectors(files, part)
        some_shas, some_vectors = read_vectors(files, part, rows)
    assert every_sha == shas
    assert np.array_equal(every_vector, vectors)
    assert some_shas == [shas[row] for row in rows]
    assert np.array_equal(some_vectors, vectors[rows])


def test_a_part_says_what_it_is(tmp_path: Path) -> None:
    files = DataFolder(str(tmp_path))
    shas, vectors = _rows(1500)
    part = write_part(files, "tiny-1a2b3c4d-5e6f7a8b", shas, vectors)
    assert part.startswith("embeddings/tiny-1a2b3c4d-5e6f7a8b/")
    parquet = pq.ParquetFile(tmp_path / part)
    assert parquet.schema_arrow.metadata[b"model_version"] == b"tiny-1a2b3c4d-5e6f7a8b"
    assert parquet.schema_arrow.field("vector").type == pa.list_(pa.float32(), 8)
    assert parquet.num_row_groups == 2
    assert [path.name for path in (tmp_path / part).parent.iterdir()] == [Path(part).name]


def test_one_vector_costs_one_row_group(tmp_path: Path) -> None:
    files = DataFolder(str(tmp_path))
    shas, vectors = _rows(5000, 64)
    part = write_part(files, "tiny", shas, vectors)
    # Damage in another row group goes unnoticed only by a reader that does not read it.
    content = bytearray((tmp_path / part).read_bytes())
    content[200:300] = bytes(100)
    (tmp_path / part).write_bytes(content)
    assert read_vectors(files, part, [4321])[0] == [shas[4321]]
    with pytest.raises(PartError):
        read_vectors(files, part, [0])


@pytest.mark.parametrize("count", [0, MAX_VECTORS + 1])
def test_no_part_is_empty_or_too_large(tmp_path: Path, count: int) -> None:
    with pytest.raises(ValueError, match="make no part"):
        write_part(DataFolder(str(tmp_path)), "tiny", *_rows(count))


def test_images_and_vectors_must_match(tmp_path: Path) -> None:
    shas, vectors = _rows(5)
    with pytest.raises(ValueError, match="make no part"):
        write_part(DataFolder(str(tmp_path)), "tiny", shas[:4], vectors)


@pytest.mark.parametrize("row", [-1, 5, 2**40])
def test_a_row_that_is_not_there_is_an_error(tmp_path: Path, row: int) -> None:
    files = DataFolder(str(tmp_path))
    part = write_part(files, "tiny", *_rows(5))
    with pytest.raises(PartError, match="5 rows"):
        read_vectors(files, part, [row])


def test_a_missing_part_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(MissingPartError, match="not in the data folder"):
        read_vectors(DataFolder(str(tmp_path)), "embeddings/tiny/none.parquet", [0])


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_damaged_part_never_gives_wrong_vectors(data: st.DataObject) -> None:
    shas, vectors = _rows(50)
    with tempfile.TemporaryDirectory() as root:
        files = DataFolder(root)
        part = write_part(files, "tiny", shas, vectors)
        content = bytearray((Path(root) / part).read_bytes())
        if data.draw(st.booleans()):
            content = content[: data.draw(st.integers(0, len(content) - 1))]
        else:
            content[data.draw(st.integers(30, 3000))] ^= data.draw(st.integers(1, 255))
        (Path(root) / part).write_bytes(content)
        try:
            found = read_vectors(files, part)
        except PartError:
            return
    assert found[0] == shas
    assert np.array_equal(found[1], vectors)


def test_another_parquet_file_is_no_part(tmp_path: Path) -> None:
    files = DataFolder(str(tmp_path))
    foreign = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), foreign)
    files.write("embeddings/tiny/foreign.parquet", foreign.getvalue())
    with pytest.raises(PartError, match="no part of format 1"):
        read_vectors(files, "embeddings/tiny/foreign.parquet")


def test_parts_are_written_and_read_without_pandas(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "import numpy as np\n"
        "from catalog_pipeline.embeddings.parts import read_vectors, write_part\n"
        "from catalog_pipeline.files import DataFolder\n"
        "files, vectors = DataFolder(sys.argv[1]), np.eye(3, dtype=np.float32)\n"
        "part = write_part(files, 'tiny-1a2b3c4d-5e6f7a8b', ['a', 'bc', 'é'], vectors)\n"
        "shas, found = read_vectors(files, part, [2, 0])\n"
        "assert shas == ['é', 'a'] and (found == vectors[[2, 0]]).all()\n"
        "assert 'pandas' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=100)
