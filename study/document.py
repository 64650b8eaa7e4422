"""Writes the generated parts of docs/study.md.

    python -m study.document [RUN_DIR ...]

With run folders, their extracts are written to docs/study/ first, in place of all that are there.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from energysweep.core.runfolder import LEDGER
from energysweep.core.text import table
from energysweep.ledger.store import read_ledger
from energysweep.report import Summary, summarise, write_whole
from energysweep.report.answers import MEANS_NOTE, tables
from energysweep.report.answers.regimes import whole_host_list
from study.duration import took_list
from study.extracts import read_extracts, write_extract
from study.findings import findings
from study.parts import energy_parts_table

ROOT: Final = Path(__file__).parent.parent
DOCUMENT: Final = ROOT / "docs" / "study.md"
COLUMNS: Final = 120  # of all documents
EXTRACTS: Final = ROOT / "docs" / "study"
_BLOCK: Final = re.compile(r"(<!-- generated: ([a-z]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_NOTHING: Final = "No run of the study can tell.\n"


def main(folders: Sequence[str]) -> int:
    """Extracts of the given runs, and the document from all extracts."""
    if folders:
        summaries = [_summary(Path(folder)) for folder in folders]
        EXTRACTS.mkdir(exist_ok=True)
        for old in EXTRACTS.glob("*.json"):
            old.unlink()
        for summary in summaries:
            write_extract(summary, EXTRACTS)
    write_whole(DOCUMENT, filled(DOCUMENT.read_text(encoding="utf-8"), read_extracts(EXTRACTS)))
    return 0


def filled(document: str, summaries: Sequence[Summary]) -> str:
    """The document with every generated block made again.

    Raises:
        KeyError: a block has a name that is none.
    """

    def block(found: re.Match[str]) -> str:
        text = BLOCKS[found[2]](summaries) if summaries else ""
        return f"{found[1]}\n{wrapped(text) or _NOTHING}\n{found[3]}"

    return _BLOCK.sub(block, document)


def wrapped(text: str) -> str:
    """Markdown with its sentences and lists wrapped as in the other documents; a row of a table stays one line."""
    return "\n".join(line if line.startswith("|") else _wrapped_line(line) for line in text.split("\n"))


def _wrapped_line(line: str) -> str:
    indent = "  " if line.startswith("- ") else ""
    return textwrap.fill(line, COLUMNS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def findings_table(summaries: Sequence[Summary]) -> str:
    """The original's findings beside ours."""
    head = ("the original says", "known from", "our run", "ours (95 %)", "verdict", "by the rule")
    rows = [
        [each.claim, each.known_from, each.run or "n/a", each.ours, f"{each.verdict}", each.why]
        for each in findings(summaries)
    ]
    return table(head, rows)


def runs_with_note(summaries: Sequence[Summary]) -> str:
    """What ran, and why its sentences have other means than the answers."""
    return f"{tables.runs_table(summaries)}\n\n{MEANS_NOTE}"


BLOCKS: Final[dict[str, Callable[[Sequence[Summary]], str]]] = {
    "answers": tables.answers_list,
    "runs": runs_with_note,
    "settings": tables.settings_table,
    "effects": tables.effects_table,
    "pretraining": tables.pretraining_table,
    "multitask": tables.multitask_table,
    "hardware": tables.hardware_table,
    "wholehost": whole_host_list,
    "energyparts": energy_parts_table,
    "duration": took_list,
    "cost": tables.cost_table,
    "meters": tables.meters_table,
    "findings": findings_table,
}


def _summary(folder: Path) -> Summary:
    return summarise(read_ledger(folder / LEDGER))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
