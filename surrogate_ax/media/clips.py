"""Short clips: frames as an MP4 that browsers play, samples as a WAV.

T frames (T, H, W, 3), uint8; C channels of S samples (C, S). The same input gives the same bytes.
"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from surrogate_ax.arrays import Array
from surrogate_ax.errors import MissingExtraError, UnsupportedError

LONGEST_S = 15.0  # of a preview; what comes later is left out
QUALITY = 26  # x264's constant rate factor: lower is larger and better


def write_mp4(frames: Array, path: Path, *, rate: float, longest: float = LONGEST_S) -> None:
    """Write H.264 in yuv420p with its index in front, which every browser plays.

    Args:
        frames: (T, H, W, 3) uint8; odd sizes are cut by a pixel, as yuv420p needs even ones.
        path: where to.
        rate: frames a second.
        longest: seconds to write.

    Raises:
        MissingExtraError: PyAV is not installed, or it was built without an H.264 encoder.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("Clips need PyAV: pip install 'surrogate-ax[video]' or av.") from error
    shown = frames[: max(1, round(min(longest * rate, len(frames))))]
    height, width = (size - size % 2 for size in shown.shape[1:3])
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as file:
        try:
            stream = file.add_stream("libx264", rate=max(1, round(rate)))
        except (ValueError, av.FFmpegError) as error:
            raise MissingExtraError("Clips need a PyAV built with libx264: pip install av has it.") from error
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": str(QUALITY), "threads": "1"}
        stream.thread_count = 1  # more threads may split frames in another way
        for frame in shown:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
            for packet in stream.encode(picture):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)


def write_wav(samples: Array, path: Path, *, rate: float, longest: float = LONGEST_S) -> None:
    """Write 16-bit PCM; what is louder than 1 is scaled down as a whole.

    Args:
        samples: (C, S) floats in [-1, 1], or 16-bit integers.
        path: where to.
        rate: samples a second.
        longest: seconds to write.

    Raises:
        UnsupportedError: no samples, or another dtype.
    """
    shown = samples[:, : max(1, round(min(longest * rate, samples.shape[1])))]
    if shown.dtype.kind == "f" and shown.size:
        x = np.nan_to_num(shown.astype(np.float64), posinf=1.0, neginf=-1.0)
        shown = np.round(32767 * x / max(1.0, float(np.abs(x).max()))).astype("<i2")
    if shown.dtype != np.dtype("<i2") or not shown.size:
        raise UnsupportedError(f"output: expected float or 16-bit samples, got {samples.dtype} {samples.shape}.")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(shown.shape[0])
        file.setsampwidth(2)
        file.setframerate(round(rate))
        file.writeframes(np.ascontiguousarray(shown.T).tobytes())
