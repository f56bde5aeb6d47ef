"""A fitted conditional density: what every scorer sees of a model, whatever its family."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from viamachinae.density.families import family_of
from viamachinae.density.preprocess import Preprocessor
from viamachinae.density.train import evaluate
from viamachinae.errors import DataError

if TYPE_CHECKING:
    from viamachinae.config.settings import DensitySettings

__all__ = ["ConditionalDensity"]

Array = NDArray[np.float64]

_FORMAT = 2
_ARCHITECTURE = ("name", "blocks", "hidden", "batch_norm", "components", "bins", "preprocessing")


def _architecture(settings: DensitySettings) -> str:
    return ", ".join(f"{name} = {json.dumps(getattr(settings, name))}" for name in _ARCHITECTURE)


@dataclass(frozen=True)
class ConditionalDensity:
    """A density p(x | m) of features ``x`` given the scan coordinate ``m``.

    The density is the mean over the best training rounds (Nachman & Shih 2020),
    normalised in the units of the features.

    Parameters
    ----------
    settings : DensitySettings
        Family and architecture.
    preprocessor, condition : Preprocessor
        Transforms of the features and of the scan coordinate.
    values : Tensor, shape (S, P)
        The model in the rounds that are averaged, best first.
    held_out : ndarray, shape (rounds,)
        Held-out mean log-likelihood after each round, preprocessed space (nat).

    Examples
    --------
    >>> from viamachinae.config.settings import DensitySettings
    >>> from viamachinae.density import fit_density
    >>> rng = np.random.default_rng(1)
    >>> m = rng.normal(size=4000)
    >>> x = rng.normal(size=(4000, 2)) + m[:, None]
    >>> ranges = Preprocessor.fit(x, ("linear", "linear"))
    >>> density = fit_density(x, m, ranges, DensitySettings(max_epochs=3), seed=1)
    >>> density.log_prob(x[:5], m[:5]).shape
    (5,)
    """

    settings: DensitySettings
    preprocessor: Preprocessor
    condition: Preprocessor
    values: Tensor
    held_out: Array

    def check_architecture(self, settings: DensitySettings) -> None:
        """Refuse to start a training with ``settings`` from this density if its architecture differs.

        Raises
        ------
        DataError
            It differs.
        """
        mine, other = _architecture(self.settings), _architecture(settings)
        if mine != other:
            msg = f"a density with {other} cannot start from one with {mine}"
            raise DataError(msg)

    def log_prob(self, x: ArrayLike, m: ArrayLike) -> Array:
        """Return log p(x | m), shape (n,), per unit volume of the features ``x`` (n, d)."""
        z, log_jacobian = self.preprocessor.forward(x)
        c, _ = self.condition.forward(np.asarray(m, dtype=np.float64)[:, None])
        table = torch.tensor(np.hstack([z, c]).astype(np.float32))
        width = table.shape[1]
        stars = (torch.arange(len(table), dtype=torch.int32), torch.zeros(width), torch.ones(width))
        log_p = evaluate(family_of(width - 1, self.settings), table, self.values, stars)
        mean: Array = (torch.logsumexp(log_p, 0) - np.log(len(log_p))).numpy()
        return mean + log_jacobian

    def save(self, path: Path) -> None:
        """Write plain arrays and JSON (``.npz``): nothing in the file is ever executed."""
        header = {
            "format": _FORMAT,
            "settings": self.settings.model_dump(mode="json"),
            "preprocessor": self.preprocessor.state(),
            "condition": self.condition.state(),
        }
        family = family_of(len(self.preprocessor.kinds), self.settings)
        arrays: dict[str, Any] = {f"constant/{n}": v.numpy() for n, v in family.constants.items()}
        arrays |= {"header": np.array(json.dumps(header)), "held_out": self.held_out}
        with path.open("wb") as file:
            np.savez(file, values=self.values.numpy(), **arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises
        ------
        DataError
            The file is missing, torn, not such a checkpoint, or its masks and
            orderings are not those that this version gives the architecture.
        """
        from viamachinae.config.settings import DensitySettings  # noqa: PLC0415 - pydantic: not for training

        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            header = json.loads(str(arrays["header"]))
            if header["format"] != _FORMAT:
                msg = f"it has format {header['format']}, and this version reads {_FORMAT}"
                raise ValueError(msg)  # noqa: TRY301
            density = cls(
                DensitySettings(**header["settings"]),
                Preprocessor.from_state(header["preprocessor"]),
                Preprocessor.from_state(header["condition"]),
                torch.tensor(arrays["values"]),
                arrays["held_out"],
            )
            family = family_of(len(density.preprocessor.kinds), density.settings)
            for name, value in family.constants.items():
                if not np.array_equal(value.numpy(), arrays[f"constant/{name}"]):
                    msg = f"its {name!r} is not that of this architecture in this version"
                    raise ValueError(msg)  # noqa: TRY301
        except (OSError, ValueError, TypeError, LookupError, EOFError, BadZipFile) as error:
            msg = f"{path}: not a readable checkpoint ({error}); train again with keep_models = true"
            raise DataError(msg) from error
        return density
