"""A fitted conditional density: what every scorer sees of a model, whatever its family."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from viamachinae.config.settings import DensitySettings
from viamachinae.density.base import DensityModule, State, evaluate
from viamachinae.density.fastmaf import FastMaskedAutoregressiveFlow
from viamachinae.density.maf import MaskedAutoregressiveFlow
from viamachinae.density.mixture import AutoregressiveMixture
from viamachinae.density.preprocess import Preprocessor
from viamachinae.density.train import train
from viamachinae.errors import DataError

__all__ = ["FAMILIES", "ConditionalDensity"]

Array = NDArray[np.float64]

#: Density families by name: what builds the module for d features.
FAMILIES: dict[str, Callable[[int, DensitySettings], DensityModule]] = {
    "maf": lambda d, s: MaskedAutoregressiveFlow(d, s.blocks, s.hidden, batch_norm=s.batch_norm),
    "fast-maf": lambda d, s: FastMaskedAutoregressiveFlow(d, s.blocks, s.hidden),
    "mixture": lambda d, s: AutoregressiveMixture(d, s.hidden, s.components),
}


def _architecture(settings: DensitySettings) -> str:
    named = settings.model_dump(include={"name", "blocks", "hidden", "batch_norm", "components"})
    return ", ".join(f"{name} = {json.dumps(value)}" for name, value in named.items())


@dataclass(frozen=True)
class ConditionalDensity:
    """A density p(x | m) of features ``x`` given the scan coordinate ``m``.

    The density is the mean over the best training epochs (Nachman & Shih 2020),
    normalised in the units of the features.

    Parameters
    ----------
    settings : DensitySettings
        Family and architecture.
    preprocessor, condition : Preprocessor
        Transforms of the features and of the scan coordinate.
    states : tuple of dict
        Parameters of the epochs that are averaged.
    held_out : ndarray
        Held-out mean log-likelihood after each epoch, preprocessed space (nat).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> m = rng.normal(size=4000)
    >>> x = rng.normal(size=(4000, 2)) + m[:, None]
    >>> ranges = Preprocessor.fit(x, ("linear", "linear"))
    >>> settings = DensitySettings(blocks=2, hidden=8, max_epochs=3)
    >>> density = ConditionalDensity.fit(x, m, ranges, settings, rng)
    >>> density.log_prob(x[:5], m[:5]).shape
    (5,)
    """

    settings: DensitySettings
    preprocessor: Preprocessor
    condition: Preprocessor
    states: tuple[State, ...]
    held_out: Array

    @classmethod
    def fit(
        cls,
        x: ArrayLike,
        m: ArrayLike,
        preprocessor: Preprocessor,
        settings: DensitySettings,
        rng: np.random.Generator,
    ) -> Self:
        """Train on stars with features ``x``, shape (n, d), and condition ``m``, shape (n,).

        ``preprocessor`` gives the kinds and ranges of the features, so that
        densities that will be compared share their support; it is
        standardised anew on ``x``.

        Raises
        ------
        DataError
            Features are not finite or do not vary.
        TaskError
            The training diverged.
        """
        condition = Preprocessor.fit(np.asarray(m, dtype=np.float64)[:, None], ("asinh",))
        blank = cls(settings, preprocessor.standardised(x), condition, (), np.empty(0))
        return blank._trained(x, m, settings, rng)

    def refit(self, x: ArrayLike, m: ArrayLike, settings: DensitySettings, rng: np.random.Generator) -> Self:
        """Train on other stars, starting from this density's best epoch.

        What the two densities get wrong alike cancels in their ratio. Start
        only from a density that has not seen the stars that will be scored
        against it: one that has carries their overdensity into the background.

        Raises
        ------
        DataError
            ``settings`` describe another architecture.
        TaskError
            The training diverged.
        """
        return self._trained(x, m, settings, rng)

    def _trained(
        self, x: ArrayLike, m: ArrayLike, settings: DensitySettings, rng: np.random.Generator
    ) -> Self:
        z, _ = self.preprocessor.forward(x)
        c, _ = self.condition.forward(np.asarray(m, dtype=np.float64)[:, None])
        # The weights start from torch's global generator: fork it, so that nothing outside is touched.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**62)))
            model = FAMILIES[settings.name](z.shape[1], settings)
            if self.states:
                self._load_into(model, settings)
            training = train(model, z, c[:, 0], settings, rng)
        return replace(self, settings=settings, states=training.states, held_out=training.held_out)

    def _load_into(self, model: DensityModule, settings: DensitySettings) -> None:
        try:
            model.load_state_dict(self.states[0])
        except RuntimeError as error:
            msg = (
                f"a density with {_architecture(settings)} cannot start from one with "
                f"{_architecture(self.settings)}: {error}"
            )
            raise DataError(msg) from error

    def log_prob(self, x: ArrayLike, m: ArrayLike) -> Array:
        """Return log p(x | m), shape (n,), per unit volume of the features."""
        z, log_jacobian = self.preprocessor.forward(x)
        c, _ = self.condition.forward(np.asarray(m, dtype=np.float64)[:, None])
        return self._mean_log_prob(z.astype(np.float32), c.astype(np.float32)) + log_jacobian

    def _mean_log_prob(self, z: NDArray[np.float32], c: NDArray[np.float32]) -> Array:
        model = FAMILIES[self.settings.name](z.shape[1], self.settings)
        # Copies in torch's own aligned memory: matrix products on unaligned memory differ in the last bit.
        features, condition = torch.tensor(z), torch.tensor(c)
        rows = []
        for state in self.states:
            model.load_state_dict(state)
            rows.append(evaluate(model, features, condition))
        stacked = torch.stack(rows)
        mean: Array = (torch.logsumexp(stacked, 0) - np.log(len(rows))).numpy()
        return mean

    def save(self, path: Path) -> None:
        """Write plain arrays and JSON (``.npz``): nothing in the file is ever executed."""
        header = {
            "format": 1,
            "settings": self.settings.model_dump(mode="json"),
            "preprocessor": self.preprocessor.state(),
            "condition": self.condition.state(),
            "n_states": len(self.states),
        }
        arrays: dict[str, Any] = {"header": np.array(json.dumps(header)), "held_out": self.held_out}
        for i, state in enumerate(self.states):
            arrays |= {f"{i}/{name}": value.numpy() for name, value in state.items()}
        with path.open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises
        ------
        DataError
            The file is missing, torn, or not such a checkpoint.
        """
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                header = json.loads(str(file["header"]))
                states: list[State] = [{} for _ in range(header["n_states"])]
                for key in file.files:
                    index, slash, name = key.partition("/")
                    if slash:
                        states[int(index)][name] = torch.from_numpy(file[key])
                held_out = file["held_out"]
            return cls(
                DensitySettings(**header["settings"]),
                Preprocessor.from_state(header["preprocessor"]),
                Preprocessor.from_state(header["condition"]),
                tuple(states),
                held_out,
            )
        except (OSError, ValueError, TypeError, LookupError, EOFError, BadZipFile) as error:
            msg = f"{path}: not a readable checkpoint ({error}); train again with keep_models = true"
            raise DataError(msg) from error
