"""Print the requirements of pyproject.toml with the extras that are named: they change less often than the code."""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


def requirements(extras: Mapping[str, Sequence[str]], name: str) -> Iterator[str]:
    """Those of an extra; one that names other extras of the project has theirs."""
    for requirement in extras[name]:
        own = re.fullmatch(r"energysweep\[(.*)\]", requirement)
        if own is None:
            yield requirement
        else:
            for other in own[1].split(","):
                yield from requirements(extras, other.strip())


if __name__ == "__main__":
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = set(project["dependencies"])
    for extra in sys.argv[1:]:
        lines |= set(requirements(project["optional-dependencies"], extra))
    sys.stdout.write("".join(f"{line}\n" for line in sorted(lines)))
