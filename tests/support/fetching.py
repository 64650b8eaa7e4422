"""Where a run folder is fetched to."""

from __future__ import annotations

from pathlib import Path


class Place:
    """A folder to fetch into, with a copy that came earlier, and something beside it that is none of the cluster's."""

    def __init__(self, root: Path) -> None:
        self.root, self.run = root, root / "results" / "it"
        (root / "beside").mkdir()
        (root / "beside" / "precious").write_text("mine")
        self.run.mkdir(parents=True)
        (self.run / "old.csv").write_text("old")
        self._before = self.seen()

    def seen(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}

    def untouched(self) -> bool:
        return self.seen() == self._before and [path.name for path in self.run.parent.iterdir()] == ["it"]
