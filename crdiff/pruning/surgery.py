"""Optimal Brain Surgeon in blocks of columns: weights go, and those to their right make up for them (SparseGPT).

As in OBS-Diff's code (arXiv 2510.06751, Alrightlone/OBS-Diff), whose arithmetic is SparseGPT's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from crdiff.pruning.hessian import damped, inverse

BLOCK = 128
"""Columns whose weights are chosen together."""

_OF = 4
"""Columns of which ``two_of_four`` leaves out two."""


class Surgeon:
    """Prunes the weights of the layers that have one Hessian.

    Args:
        hessian: (in, in) float32, not damped.
        block: columns whose weights are chosen together.

    Raises:
        ValueError: the Hessian cannot be inverted.
    """

    def __init__(self, hessian: torch.Tensor, block: int = BLOCK) -> None:
        found = inverse(damped(hessian))
        if found is None:
            raise ValueError("The Hessian cannot be inverted.")
        factor, failed = torch.linalg.cholesky_ex(found, upper=True)
        if bool(failed):
            raise ValueError("The inverse of the Hessian is not positive.")
        self._dead = hessian.diagonal() == 0.0
        self._factor, self._block = factor, block

    def by_ratio(self, weight: torch.Tensor, ratio: float) -> torch.Tensor:
        """A new weight, (out, in) float32, without ``ratio`` of each block of columns, over all rows, and one more.

        The saliency is w^2 / u_jj^2 with the upper Cholesky factor u of the inverse: its square is the inverse's
        diagonal once the columns to the left are settled.
        """

        def chosen(saliency: torch.Tensor) -> torch.Tensor:
            rank = int(saliency.numel() * ratio) + 1
            flat = saliency.reshape(-1)
            # Not every backend can select.
            on = flat if flat.device.type in ("cpu", "cuda") else flat.cpu()
            return saliency <= on.kthvalue(min(rank, len(on))).values.to(flat.device)

        return self._pruned(weight, self._block, chosen)

    def two_of_four(self, weight: torch.Tensor) -> torch.Tensor:
        """A new weight without two of every four columns of each row; of a narrower rest without half."""

        def chosen(saliency: torch.Tensor) -> torch.Tensor:
            least = saliency.topk(saliency.shape[1] // 2, dim=1, largest=False).indices
            return torch.zeros_like(saliency, dtype=torch.bool).scatter_(1, least, True)

        return self._pruned(weight, _OF, chosen)

    def _pruned(
        self, weight: torch.Tensor, together: int, choose: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """Column by column; the mask of ``together`` columns is chosen when the first of them is reached."""
        weight = weight.detach().to(torch.float32, copy=True)
        weight[:, self._dead] = 0.0
        columns = weight.shape[1]
        for start in range(0, columns, self._block):
            end = min(start + self._block, columns)
            part, factor = weight[:, start:end], self._factor[start:end, start:end]
            diagonal, errors = factor.diagonal(), torch.zeros_like(part)
            for place in range(end - start):
                if place % together == 0:
                    ahead = slice(place, min(place + together, end - start))
                    masks = choose(part[:, ahead].square() / diagonal[ahead].square())
                column = part[:, place]
                error = torch.where(masks[:, place % together], column / diagonal[place], 0.0)
                errors[:, place] = error
                part[:, place + 1 :].addr_(error, factor[place, place + 1 :], alpha=-1.0)
                column.masked_fill_(masks[:, place % together], 0.0)
            weight[:, end:].addmm_(errors, self._factor[start:end, end:], alpha=-1.0)
        return weight
