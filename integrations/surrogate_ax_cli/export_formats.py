"""The formats of `surrogate-ax export`: a folder of files, Parquet, and tar files as WebDataset reads them.

| format | outputs | what is said of them |
|---|---|---|
| folder | files | `metadata.jsonl`, a line each with `file_name`, as ImageFolder of Hugging Face reads it |
| parquet | a column of bytes and file names | the other columns of the same row |
| webdataset | files in tar files | a JSON file of the same name |

A PNG carries its recipe; beside another file in a folder stands a JSON file that does.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import TracebackType
from typing import IO, Any, Protocol

from surrogate_ax.errors import MissingExtraError, UnsupportedError
from surrogate_ax.generation.saved_picture import SavedPicture
from surrogate_ax.media.preview_files import Preview
from surrogate_ax.report.trial_table import Columns

METADATA = "metadata.jsonl"
SHARD, GROUP = 256 << 20, 128  # bytes of outputs in a file, rows that are written together
_DTYPES = {str: "string", int: "int64", float: "float64", bool: "bool"}
WHOLE = 2**63 - 1  # the largest number of a column of them
Types = Mapping[str, type]
SUFFIXES = {  # the column that holds files of a kind, as `datasets` calls it
    ".png": "image",
    ".webp": "image",
    ".jpg": "image",
    ".mp4": "video",
    ".wav": "audio",
    ".pdb": "file",
    ".cif": "file",
    ".npy": "file",
}


@dataclass(frozen=True)
class Item:
    """One output on its way into a file.

    Args:
        name: without a suffix.
        output: its file; the suffix counts.
        row: what is said of it, without its recipe.
        saved: what remakes it.
    """

    name: str
    output: Preview
    row: Mapping[str, Any]
    saved: SavedPicture

    @property
    def suffix(self) -> str:
        """Of its file."""
        return PurePath(self.output.name).suffix

    @property
    def file(self) -> str:
        """What its file is called."""
        return self.name + self.suffix

    @property
    def flat(self) -> dict[str, Any]:
        """The row with its recipe as a text, since columns of tables hold values of one type."""
        return {**self.row, "recipe": json.dumps(self.saved.recipe.to_json())}


class Writer(Protocol):
    """Writes items to a folder, which it leaves whole when its block ends."""

    suffixes: set[str]

    def __enter__(self) -> Writer:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is left."""

    def add(self, item: Item) -> None:
        """Write one more."""


def tidy(columns: Columns) -> tuple[Columns, Types]:
    """Columns of one type each, as tables want them, and these types.

    Args:
        columns: values by name: whole numbers, numbers, texts and truth values stay; what is of several types, or of
            another one, becomes JSON.
    """
    made = {name: _tidy(column) for name, column in columns.items()}
    return {name: column for name, (column, _) in made.items()}, {name: kind for name, (_, kind) in made.items()}


def _tidy(column: list[Any]) -> tuple[list[Any], type]:
    kinds = {type(value) for value in column if value is not None}
    large = any(isinstance(value, int) and abs(value) > WHOLE for value in column)
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in column], float
    if len(kinds) <= 1 and kinds <= {bool, int, float, str} and not large:
        return column, kinds.pop() if kinds else str
    return [None if value is None else json.dumps(value, default=str) for value in column], str


class FolderWriter:
    """Files beside `metadata.jsonl`; arguments as for every writer.

    Args:
        folder: an empty one.
        types: of what rows hold, by name.
    """

    def __init__(self, folder: Path, types: Types) -> None:
        self.suffixes = set[str]()
        self._folder = folder
        self._lines: IO[str] = (folder / METADATA).open("w", encoding="utf-8")

    def __enter__(self) -> FolderWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def add(self, item: Item) -> None:
        """Write the file of an output, its line, and its recipe where the file cannot carry that."""
        self.suffixes.add(item.suffix)
        (self._folder / item.file).write_bytes(item.output.content)
        if item.suffix != ".png":
            text = json.dumps(item.flat) + "\n"
            (self._folder / item.name).with_suffix(".json").write_text(text, encoding="utf-8")
        self._lines.write(json.dumps({"file_name": item.file, **item.flat}) + "\n")


class TarWriter:
    """Tar files of at most `SHARD` bytes; the same outputs give the same bytes. Arguments as for `FolderWriter`."""

    def __init__(self, folder: Path, types: Types) -> None:
        self.suffixes = set[str]()
        self._folder, self._shards, self._bytes = folder, 0, 0
        self._tar: tarfile.TarFile | None = None

    def __enter__(self) -> TarWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._tar is not None:
            self._tar.close()

    def add(self, item: Item) -> None:
        """Write a sample: the output's file and a JSON file."""
        self.suffixes.add(item.suffix)
        tar = self._open(len(item.output.content))
        for suffix, content in ((item.suffix, item.output.content), (".json", json.dumps(item.flat).encode())):
            member = tarfile.TarInfo(item.name + suffix)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))

    def _open(self, more: int) -> tarfile.TarFile:
        """The tar file that has room for so many bytes more."""
        if self._tar is not None and self._bytes + more > SHARD:
            self._tar.close()
            self._tar = None
        if self._tar is None:
            name = self._folder / f"data-{self._shards:05}.tar"
            self._tar = tarfile.TarFile(name, "w", format=tarfile.USTAR_FORMAT)
            self._shards, self._bytes = self._shards + 1, 0
        self._bytes += more
        return self._tar


class ParquetWriter:
    """Parquet files of at most about `SHARD` bytes, with the types by which `datasets` shows outputs.

    Arguments as for `FolderWriter`.

    Raises:
        MissingExtraError: PyArrow is not installed.
    """

    def __init__(self, folder: Path, types: Types) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise MissingExtraError("Parquet needs PyArrow: pip install 'surrogate-ax[parquet]'.") from error
        self.suffixes = set[str]()
        self._arrow, self._parquet, self._folder = pyarrow, pyarrow.parquet, folder
        self._types = {"file_name": str, **types, "recipe": str}
        self._shards, self._bytes, self._kind = 0, 0, ""
        self._rows: list[dict[str, Any]] = []
        self._file: Any = None

    def __enter__(self) -> ParquetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
        if self._file is not None:
            self._file.close()

    def add(self, item: Item) -> None:
        """Write a row, once so many are there."""
        self.suffixes.add(item.suffix)
        kind = SUFFIXES[item.suffix]
        if self._kind not in ("", kind):
            raise UnsupportedError(f"export: expected outputs of one kind, got {self._kind} and {kind}. Use a folder.")
        self._kind = kind
        content = {"bytes": item.output.content, "path": item.file}
        self._rows.append({kind: content, "file_name": item.file, **item.flat})
        self._bytes += len(item.output.content)
        if len(self._rows) >= GROUP or self._bytes > SHARD:
            self._flush()

    def _flush(self) -> None:
        """Write the rows so far; a file that is large enough is closed."""
        if not self._rows:
            return
        schema = self._schema()
        if self._file is None:
            self._file = self._parquet.ParquetWriter(self._folder / f"data-{self._shards:05}.parquet", schema)
            self._shards += 1
        self._file.write_table(self._arrow.Table.from_pylist(self._rows, schema=schema))
        self._rows = []
        if self._bytes > SHARD:
            self._file.close()
            self._file, self._bytes = None, 0

    def _schema(self) -> Any:
        """The types of columns, for Arrow, and for `datasets` in its own words."""
        arrow = self._arrow
        types = {str: arrow.string(), int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_()}
        content = arrow.struct({"bytes": arrow.binary(), "path": arrow.string()})
        fields = {self._kind: content, **{name: types[kind] for name, kind in self._types.items()}}
        shown: dict[str, Any] = {name: {"dtype": _DTYPES[kind], "_type": "Value"} for name, kind in self._types.items()}
        if self._kind != "file":
            shown[self._kind] = {"_type": self._kind.capitalize()}
            said = json.dumps({"info": {"features": shown}})
            return arrow.schema(fields, metadata={"huggingface": said})
        return arrow.schema(fields)


WRITERS: dict[str, Callable[[Path, Types], Writer]] = {
    "folder": FolderWriter,
    "parquet": ParquetWriter,
    "webdataset": TarWriter,
}
