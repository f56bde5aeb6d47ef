"""What the results of a folder are agreed to be made with: version and settings of every stage.

They lie beside the results, so that a run sees at once whether it would make results anew that nobody
asked it to: because settings changed, or because the program did.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from viamachinae.config.settings import Settings
from viamachinae.errors import ConfigError
from viamachinae.scan.masking import all_masks_key
from viamachinae.scan.receipt import ABSENT
from viamachinae.scan.sections import STAGES, VERSIONS, settings_hash
from viamachinae.scan.task import fingerprint
from viamachinae.schema.publish import atomic_text

__all__ = ["TERMS", "Terms", "require_terms"]

#: Name of the file in a scan folder.
TERMS = "terms.json"

#: Stages whose results are of the whole sky: those of single patches do not depend on which others there are.
_SKY_STAGES = ("patches", "streams", "report")


@dataclass(frozen=True)
class Terms:
    """What a folder's results are made with.

    Parameters
    ----------
    stages : mapping
        Stage -> its version and the hash of the settings that it reads.
    group_size : int
        Signal regions of a score task.
    masks : str
        Hash of the known objects that are masked.
    tables : str
        Hash of the fingerprints of the tables of stars; empty where they are not known.
    """

    stages: Mapping[str, tuple[int, str]]
    group_size: int
    masks: str
    tables: str = ""

    @classmethod
    def of(cls, settings: Settings, tables: Sequence[str] | None = None) -> Self:
        """Return what this version of the program makes of settings, and of tables with some fingerprints."""
        stages = {stage: (VERSIONS[stage], settings_hash(settings, stage)) for stage in STAGES}
        said = hashlib.sha256("\n".join(sorted(tables)).encode()).hexdigest() if tables else ""
        return cls(stages, settings.regions.group_size, all_masks_key(settings), said)

    @classmethod
    def read(cls, out: Path) -> Self | None:
        """Return those of a folder; ``None`` where there are none, or they are damaged."""
        try:
            body = json.loads((out / TERMS).read_bytes())
            stages = {str(name): (int(v), str(digest)) for name, (v, digest) in body["stages"].items()}
            found = cls(stages, int(body["group_size"]), str(body["masks"]), str(body["tables"]))
        except (*ABSENT, ValueError, KeyError, TypeError, AttributeError):
            return None
        return found if body.get("seal") == found._seal() and stages.keys() == set(STAGES) else None

    def keep(self, out: Path) -> None:
        """Write them into a folder, unless they stand there; tables that are not known stay as they were."""
        found = Terms.read(out)
        terms = replace(self, tables=found.tables) if found is not None and not self.tables else self
        if found != terms:
            body = {**asdict(terms), "seal": terms._seal()}
            atomic_text(out / TERMS, json.dumps(body, indent=1) + "\n")

    def _seal(self) -> str:
        """Return a hash of all that they say: a flipped bit would look like another agreement."""
        return fingerprint(asdict(self))

    def agree(self, other: Terms, stage: str = STAGES[-1]) -> bool:
        """Say whether the results of a stage are alike under both, as far as their tables are known."""
        loaded = STAGES.index(stage) >= STAGES.index("stars")
        others = loaded and self.tables and other.tables and self.tables != other.tables
        return not others and self.until(stage) == other.until(stage)

    def until(self, stage: str) -> tuple[object, ...]:
        """Return what the results of a stage follow from."""
        behind = STAGES[: STAGES.index(stage) + 1]
        chosen = [name for name in behind if name != "patches" or stage in _SKY_STAGES]
        grouped = self.group_size if "scores" in behind else None
        return (self.masks, grouped, *(self.stages[name] for name in chosen))


def require_terms(terms: Terms, out: Path, stage: str) -> None:
    """Refuse to go on where another run has given the folder other settings meanwhile.

    Parameters
    ----------
    terms : Terms
        What this run makes results with.
    out : Path
        The scan folder.
    stage : str
        Whose results come next.

    Raises
    ------
    ConfigError
        They would differ from those that the folder is now run for.
    """
    found = Terms.read(out)
    if found is not None and not found.agree(terms, stage):
        msg = (
            f"{out}: another run has given this folder other settings or stars meanwhile, of {stage} or of "
            "what it is made from; this one ends, so that their results do not mix. Look into scan.toml "
            "there, and give each configuration a folder of its own (--out)"
        )
        raise ConfigError(msg)
