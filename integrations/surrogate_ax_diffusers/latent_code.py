"""What a pipeline's VAE is given for its loop's final latents: the map between the two, found without a table.

Every pipeline undoes its scaling, shift and packing before `vae.decode`: each entry that the VAE is given is one entry
of the final latent, scaled and shifted. So a few probes find the map: zeros give the shift, ones the scale, and entries
numbered in digits, few enough for the pipeline's precision, say where each entry comes from.

z final latents (n, *shape) in the prior's shape, D entries each; v (n, *vae_shape) what the VAE is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from surrogate_ax.errors import UnsupportedError

CLOSE = 4.0  # units of rounding between what is found and what a further probe shows


@dataclass(frozen=True)
class LatentCode:
    """v[i] = scale[i] z[order[i]] + shift[i], entry by entry.

    Args:
        shape: of one final latent.
        vae_shape: of one latent of the VAE.
        order: (D,) which entry of z an entry of v is.
        scale: (D,), nowhere 0.
        shift: (D,).
    """

    shape: tuple[int, ...]
    vae_shape: tuple[int, ...]
    order: Tensor
    scale: Tensor
    shift: Tensor

    def to_vae(self, z: Tensor) -> Tensor:
        """Final latents (n, *shape) as the VAE is given them."""
        flat = z.flatten(1)[:, self.order] * self.scale + self.shift
        return flat.reshape(len(z), *self.vae_shape)

    def from_vae(self, v: Tensor) -> Tensor:
        """Latents of the VAE (n, *vae_shape) as the loop ends with them."""
        return self.moved((v.flatten(1) - self.shift) / self.scale)

    def moved(self, values: Tensor) -> Tensor:
        """Rows (n, D) of values that belong to entries of v, put where those of z stand."""
        flat = torch.empty_like(values)
        flat[:, self.order] = values
        return flat.reshape(len(values), *self.shape)


def find_order(shape: tuple[int, ...], run: Callable[[Tensor], Tensor], dtype: torch.dtype) -> LatentCode:
    """The map by which a part of a pipeline rearranges, scales and shifts the entries of one latent.

    Args:
        shape: of one latent.
        run: the part, from (1, *shape) to (1, *another).
        dtype: in which the part computes.

    Raises:
        UnsupportedError: it does something else.
    """
    count = math.prod(shape)
    base = 2 ** max(1, int(-math.log2(torch.finfo(dtype).eps)) - 3)  # digits that survive scaling and shifting
    zeros = run(torch.zeros(1, *shape)).float()
    vae_shape, shift = tuple(zeros.shape[1:]), zeros.flatten()
    scale = run(torch.ones(1, *shape)).float().flatten() - shift
    numbers, order, weight = torch.arange(count), torch.zeros(len(shift), dtype=torch.long), 1
    while weight < count:
        digits = ((numbers // weight) % base).float() / base
        found = (run(digits.reshape(1, *shape)).float().flatten() - shift) / scale
        order += torch.nan_to_num(found * base).round().long() * weight
        weight *= base
    if len(order) != count or not torch.equal(order.sort().values, numbers):
        raise UnsupportedError(
            "the VAE is given something else than the final latent, scaled and shifted entry by entry, so items cannot "
            "be encoded. Give pipeline_generator(encoder=...), or encode them yourself."
        )
    code = LatentCode(shape, vae_shape, order, scale, shift)
    probe = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    seen, expected = run(probe).float(), code.to_vae(probe)
    rounding = CLOSE * torch.finfo(dtype).eps * float(expected.abs().max())
    if not float((seen - expected).abs().max()) <= rounding:
        raise UnsupportedError("the VAE is given the final latent changed by more than scale and shift.")
    return code
