"""The process that a `SubprocessScore` runs its function in, and the messages between the two.

    parent                                          worker
    {"function": "module:name", "path": [...]}      {}, or {"unfit": why, "trace": ...} if it cannot be imported
    {"outputs": ..., "conditions": ...}             {} when they are unpacked: from here on the score's time counts
                                                    {"values": names}, {"raised": why, "trace": ...} or {"unfit": why}

A message is a line of JSON and the bytes of arrays, so nothing that arrives is code. Only the standard library and
NumPy are imported here, which takes a tenth of a second; torch and Pillow are where outputs need them.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:  # the package imports torch, for which a score that is quick to start would wait
    from surrogate_ax.arrays import Array

Message = Mapping[str, Any]  # JSON; {"array": i} and the like stand for array i
GRACE = 1.0  # seconds that a worker has to end when its parent is done with it, or gone
_LENGTH = struct.Struct("!Q")  # of the line of JSON, in bytes


def send(stream: BinaryIO, message: Message, arrays: Sequence[Array]) -> None:
    """Write a message.

    Args:
        stream: a pipe.
        message: JSON-able.
        arrays: of any shapes, and of dtypes that hold no objects.
    """
    described = [[array.dtype.str, array.shape] for array in arrays]
    line = json.dumps({"message": message, "arrays": described}).encode()
    stream.write(_LENGTH.pack(len(line)) + line)
    for array in arrays:
        stream.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[Message, list[Array]]:
    """Read a message.

    Raises:
        EOFError: the other side has closed the pipe.
    """
    (length,) = _LENGTH.unpack(_read(stream, _LENGTH.size))
    line = json.loads(_read(stream, length))
    arrays = []
    for name, shape in line["arrays"]:
        dtype = np.dtype(name)
        data = _read(stream, dtype.itemsize * int(np.prod(shape, dtype=np.int64)))
        arrays.append(np.frombuffer(data, dtype=dtype).reshape(shape))
    return line["message"], arrays


def _read(stream: BinaryIO, size: int) -> bytearray:
    data = bytearray(size)  # arrays over it are writable, as those that a generator returns
    if stream.readinto(data) != size:  # type: ignore[attr-defined]  # a BufferedReader: waits for all of it
        raise EOFError
    return data


def unpack(value: Any, arrays: Sequence[Array]) -> Any:
    """Outputs or conditions as the parent packed them: see `surrogate_ax.scoring.process`."""
    if isinstance(value, list):
        return [unpack(entry, arrays) for entry in value]
    if not isinstance(value, dict):
        return value
    kind = value["kind"]
    if kind == "mapping":
        return {name: unpack(entry, arrays) for name, entry in value["entries"].items()}
    if kind == "array":
        return arrays[value["array"]]
    if kind == "tensor":
        import torch

        tensor = torch.from_numpy(arrays[value["array"]])
        return tensor.view(torch.bfloat16) if value["bfloat16"] else tensor
    if kind == "image":
        from PIL import Image

        return Image.frombytes(value["mode"], tuple(value["size"]), arrays[value["array"]].tobytes())
    from surrogate_ax.media.structures import Structure

    coordinates, mask, chains = (arrays[i] for i in value["arrays"])
    return Structure(
        coordinates, mask, tuple(value["atoms"]), tuple(value["residues"]), chains, tuple(value["elements"])
    )


def find(name: str) -> Callable[..., Any]:
    """The function of "package.module:function".

    Raises:
        ImportError: there is no such module, or no such function in it.
    """
    module, _, attribute = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ImportError(f"{found.__name__} has no {part!r}")
        found = getattr(found, part)
    if not callable(found):
        raise ImportError(f"{attribute!r} of {module} is not a function, but {type(found).__name__}")
    return found  # type: ignore[no-any-return]


def answer(function: Callable[..., Any], outputs: Any, conditions: Any) -> tuple[Message, list[Array]]:
    """What a worker answers: values, or the error that the function raised."""
    try:
        returned = function(outputs, conditions)
    except Exception as error:  # noqa: BLE001  it is the parent's to judge
        return {"raised": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}, []
    named = isinstance(returned, Mapping)
    columns = list(returned.values()) if named else [returned]
    try:
        values = [_numbers(column) for column in columns]
    except (TypeError, ValueError) as error:
        return {"unfit": f"{type(returned).__name__} ({error})"}, []
    return {"values": [str(name) for name in returned] if named else None}, values


def _numbers(column: Any) -> Array:
    return np.asarray(column.detach().cpu().double() if hasattr(column, "detach") else column, dtype=np.float64)


def main() -> None:
    """Score what comes in, until the pipe is closed."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # what the score reads and prints is no message
    os.dup2(2, 1)
    start, _ = receive(requests)
    sys.path[:] = start["path"]
    try:
        function = find(start["function"])
    except Exception as error:  # noqa: BLE001  whatever a module raises when it is imported
        send(replies, {"unfit": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}, [])
        return
    send(replies, {}, [])
    inbox: queue.SimpleQueue[tuple[Message, list[Array]] | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, inbox), daemon=True).start()
    process = os.getpid()
    while (request := inbox.get()) is not None:
        message, arrays = request
        outputs, conditions = (unpack(message[name], arrays) for name in ("outputs", "conditions"))
        send(replies, {}, [])
        reply = answer(function, outputs, conditions)
        if os.getpid() != process:  # a copy of the process, which the function has forked and returned in: not asked
            sys.stdout.flush()
            os._exit(0)
        send(replies, *reply)


def _listen(requests: BinaryIO, inbox: queue.SimpleQueue[tuple[Message, list[Array]] | None]) -> None:
    """Take requests in, also while the function runs: it ends with the parent, even if that was killed."""
    try:
        while True:
            inbox.put(receive(requests))
    except EOFError:
        inbox.put(None)
    time.sleep(GRACE)  # the main thread ends the process by then, unless the function is running
    if os.name == "posix" and os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
