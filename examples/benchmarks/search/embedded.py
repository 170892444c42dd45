"""The embedded model, compiled for batches of one fixed size, and images kept by latent.

x latents float32 (n, 768), inner rows as the bank makes them; images float32 (n, 16, 16, 3) in [0, 1]. One image costs
8 network evaluations. Compiled in channels-last order with frozen weights a batch of 32 takes two thirds of the time of
the stock pipeline, and differs from it by about 1e-5; a batch that is not full is padded.
"""

from __future__ import annotations

import hashlib
import time

import numpy as np
import torch
import torch._inductor.config

from surrogate_ax_diffusers import avatar_generator

Array = np.ndarray
PROMPT, STEPS, BATCH, DIM = "happy mouth", 8, 32, 768
SHAPE = (3, 16, 16)


def stock() -> avatar_generator:
    """The generator that the compiled one stands for."""
    return avatar_generator(PROMPT, steps=STEPS, guidance=1.0, revision="benchmark")


class Model:
    """Latents to images in full batches of 32.

    Args:
        compiled: compile the network, which takes about a minute; without it the stock network runs.
    """

    def __init__(self, *, compiled: bool = True) -> None:
        torch.set_num_threads(1)
        pipe = stock()._pipe
        with torch.no_grad():
            self._prompt = pipe.encode_prompt(PROMPT, "cpu", 1, False)[0].repeat(BATCH, 1, 1)
        pipe.scheduler.set_timesteps(STEPS)
        self._times, self._sigmas = pipe.scheduler.timesteps.float(), pipe.scheduler.sigmas.double()
        network = pipe.unet.eval().to(memory_format=torch.channels_last)
        if compiled:
            torch._inductor.config.freezing = True
            network = torch.compile(network)
        self._network = network
        self.seconds, self.images = 0.0, 0

    def __call__(self, x: Array) -> Array:
        """Images (n, 16, 16, 3) of latents (n, 768)."""
        return self.advance(x, 0, STEPS)[1]

    @torch.no_grad()
    def advance(self, x: Array, start: int, end: int) -> tuple[Array, Array]:
        """Rows (n, 768) after `start` steps brought to step `end`: rows there, and images (n, 16, 16, 3).

        The images are estimates x - σ v with the last velocity taken: the final ones after the last step.
        """
        clock = time.perf_counter()
        parts = [self._batch(x[i : i + BATCH], start, end) for i in range(0, len(x), BATCH)]
        self.seconds, self.images = self.seconds + time.perf_counter() - clock, self.images + len(x)
        rows, images = (np.concatenate(part) for part in zip(*parts, strict=True))
        return rows, images

    def _batch(self, x: Array, start: int, end: int) -> tuple[Array, Array]:
        n = len(x)
        z = torch.zeros((BATCH, *SHAPE))
        z[:n] = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).view(n, *SHAPE)
        z = z.contiguous(memory_format=torch.channels_last)
        estimate = z
        for k in range(start, end):
            v = self._network(z, self._times[k], encoder_hidden_states=self._prompt, return_dict=False)[0]
            estimate = z - float(self._sigmas[k]) * v
            z = z + float(self._sigmas[k + 1] - self._sigmas[k]) * v
        image = (3 * torch.tanh(estimate / 3) / 2 + 0.5).clamp(0, 1)
        return z[:n].reshape(n, -1).numpy(), image[:n].permute(0, 2, 3, 1).contiguous().numpy()


def key(row: Array) -> bytes:
    """What an image is kept by: a digest of the float32 latent."""
    return hashlib.blake2b(np.ascontiguousarray(row, dtype=np.float32).tobytes(), digest_size=12).digest()
