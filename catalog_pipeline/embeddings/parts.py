"""Files of vectors: Parquet parts that belong to a model and to no store.

A part is immutable and named by chance, so that several stores can write at the same time and a
part whose rows were never recorded harms nobody. Which vector stands where is the database's word.
"""

from __future__ import annotations

import io
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from catalog_pipeline.embeddings.problems import MissingPartError, PartError
from catalog_pipeline.errors import first_line
from catalog_pipeline.files import DataFolder

FOLDER = "embeddings"
FORMAT_VERSION = "1"
MAX_VECTORS = 10_000
# About 3 MB of a 768-dimensional model: what a reader of a single vector has to fetch.
_ROWS_PER_GROUP = 1_000

Vectors = npt.NDArray[np.float32]


def write_part(files: DataFolder, model_version: str, shas: Sequence[str], vectors: Vectors) -> str:
    """Write a part whole or not at all.

    Args:
        files: the data folder.
        model_version: whose vectors these are.
        shas: the images' SHA-256 in hexadecimal, one for each row.
        vectors: (len(shas), dimensions), float32; 1 to `MAX_VECTORS` rows.

    Returns:
        The part: its file's name in the data folder.

    Raises:
        ValueError: there are no or too many rows, or shas and vectors do not match.
    """
    if not 1 <= len(shas) <= MAX_VECTORS or vectors.shape[:1] != (len(shas),) or vectors.ndim != 2:
        raise ValueError(f"{len(shas)} images and vectors of shape {vectors.shape} make no part")
    dimensions = int(vectors.shape[1])
    schema = pa.schema(
        [
            pa.field("image_sha256", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), dimensions), nullable=False),
        ],
        metadata={"model_version": model_version, "format_version": FORMAT_VERSION},
    )
    columns = [_texts(shas), pa.FixedSizeListArray.from_arrays(_floats(vectors), dimensions)]
    sink = io.BytesIO()
    pq.write_table(
        pa.Table.from_arrays(columns, schema=schema),
        sink,
        row_group_size=_ROWS_PER_GROUP,
        # Neither vectors nor hashes compress; the checksum finds a damaged page.
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    name = f"{FOLDER}/{model_version}/{datetime.now(UTC):%Y%m%d}-{uuid.uuid4().hex}.parquet"
    files.write(name, sink.getvalue())
    return name


def read_vectors(
    files: DataFolder, part: str, rows: Sequence[int] | None = None
) -> tuple[list[str], Vectors]:
    """Some rows of a part, in the order asked for, reading only the row groups they stand in.

    Args:
        files: the data folder.
        part: as `write_part` returned it.
        rows: row numbers from 0; None for all.

    Returns:
        The images' SHA-256 and their vectors (len(rows), dimensions).

    Raises:
        MissingPartError: the file is not there.
        PartError: the file is damaged, is no part, or has no such row.
    """
    with _opened(files, part) as parquet:
        starts = _group_starts(parquet)
        total = starts[-1]
        wanted = np.arange(total) if rows is None else np.asarray(rows, dtype=np.int64).reshape(-1)
        if (absent := wanted[(wanted < 0) | (wanted >= total)]).size:
            raise PartError(f"{part} has {total} rows and was asked for row {absent[0]}")
        groups = np.searchsorted(starts, wanted, side="right") - 1
        dimensions = _dimensions(parquet, part)
        shas = np.empty(wanted.size, dtype=object)
        vectors = np.empty((wanted.size, dimensions), dtype=np.float32)
        for group in np.unique(groups):
            table = parquet.read_row_group(int(group))
            here = groups == group
            offsets = wanted[here] - starts[group]
            values: Any = table.column("vector").combine_chunks()
            flat = values.flatten()
            if flat.null_count or len(flat) != len(values) * dimensions:
                raise PartError(f"{part} is damaged: vectors are missing in row group {group}")
            vectors[here] = np.from_dlpack(flat).reshape(-1, dimensions)[offsets]
            shas[here] = np.array(table.column("image_sha256").to_pylist(), dtype=object)[offsets]
    return [str(sha) for sha in shas], vectors


def read_places(files: DataFolder, places: Sequence[tuple[str, int]]) -> Vectors:
    """The vectors at these parts and rows, (len(places), dimensions), in the order asked for.

    Each part is opened once; raises as `read_vectors` does. All parts are one model's, and there is
    at least one place.
    """
    by_part: dict[str, list[int]] = defaultdict(list)
    for place, (part, _) in enumerate(places):
        by_part[part].append(place)
    vectors: list[Any] = [None] * len(places)
    for part, here in by_part.items():
        _, read = read_vectors(files, part, [places[place][1] for place in here])
        for place, vector in zip(here, read, strict=True):
            vectors[place] = vector
    return np.stack(vectors)


# Of buffers, and read by DLPack: pa.array() and to_numpy() import pandas to ask whether it is
# meant, which takes longer than all else about the part of a sync with few new pictures.
def _texts(values: Sequence[str]) -> pa.StringArray:
    encoded = [value.encode() for value in values]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(
        len(encoded), pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(encoded))
    )


def _floats(vectors: Vectors) -> pa.Array[Any]:
    content = np.ascontiguousarray(vectors, dtype=np.float32).tobytes()
    return pa.Array.from_buffers(pa.float32(), vectors.size, [None, pa.py_buffer(content)])


@contextmanager
def _opened(files: DataFolder, part: str) -> Iterator[pq.ParquetFile]:
    try:
        handle: IO[bytes] = files.open(part)
    except FileNotFoundError as error:
        raise MissingPartError(
            f"{part} is not in the data folder {files}; bring it back, or remove its rows from "
            "embeddings so that its images are embedded again"
        ) from error
    with handle:
        try:
            parquet = pq.ParquetFile(handle, page_checksum_verification=True)
            if _metadata(parquet).get(b"format_version") != FORMAT_VERSION.encode():
                raise PartError(f"{part} is no part of format {FORMAT_VERSION}")
            yield parquet
        except (pa.ArrowException, OSError, KeyError) as error:
            raise PartError(
                f"{part} is damaged ({first_line(error)}); bring back an intact copy, or "
                "remove it and its rows from embeddings so that its images are embedded again"
            ) from error


def _metadata(parquet: pq.ParquetFile) -> dict[bytes, bytes]:
    return parquet.schema_arrow.metadata or {}


def _dimensions(parquet: pq.ParquetFile, part: str) -> int:
    kind = parquet.schema_arrow.field("vector").type
    if not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.float32():
        raise PartError(f"{part} holds {kind} instead of float32 vectors")
    return int(kind.list_size)


def _group_starts(parquet: pq.ParquetFile) -> npt.NDArray[np.int64]:
    """First row of each row group, and the number of rows at the end."""
    counts = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
