"""The combined report of several runs: what they answer together, then each run, then what they have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Group, RenderableType
from rich.text import Text

from energysweep.analysis.extremes import stands_out
from energysweep.core.text import escape, or_more_text
from energysweep.ledger.model import Summary
from energysweep.report.answers import MEANS_NOTE, Answer, answers, sentence, study_answers
from energysweep.report.answers.regimes import whole_host_list
from energysweep.report.answers.settings import bare_ratio, extremes, surely_text
from energysweep.report.answers.tables import (
    answers_list,
    cost_table,
    effects_table,
    hardware_table,
    meters_table,
    multitask_table,
    pretraining_table,
    runs_table,
    settings_table,
)
from energysweep.report.charts import figures_of_a_part
from energysweep.report.charts.base import Figure
from energysweep.report.compare import cell_text, compare, comparison_table
from energysweep.report.html import render

# What the runs are called side by side -------------------------------------------------------------------------------


def told_apart(summaries: Sequence[Summary]) -> list[Summary]:
    """The same runs, in order, under names of which each is one run's: where a name repeats, the run id.

    Two machines may have given the same id, as ``make study`` does: such runs are numbered.
    """
    names = Counter(summary.name for summary in summaries)
    runs = Counter(summary.sweep for summary in summaries)
    seen: Counter[str] = Counter()
    found = []
    for summary in summaries:
        seen[summary.sweep] += 1
        run = f"{summary.sweep} ({seen[summary.sweep]})" if runs[summary.sweep] > 1 else summary.sweep
        found.append(replace(summary, sweep=run, name=run if names[summary.name] > 1 else summary.name))
    return found


# The report as a page, on a terminal, and as Markdown ----------------------------------------------------------------


def combined_html(summaries: Sequence[Summary], notes: Sequence[str] = ()) -> str:
    """The page: its first screen holds the answers, notes stand below the runs. The same runs give the same bytes."""
    summaries = told_apart(summaries)
    parts = [_figures(summary, index) for index, summary in enumerate(summaries)]
    return render(
        "compare.html.j2",
        [figure for figures in parts for figure in figures],
        title=headline(summaries),
        answers=study_answers(summaries),
        means_note=MEANS_NOTE,
        comparison=compare(summaries, notes),
        cell_text=cell_text,
        sentence=sentence,
        estimated=any(summary.estimated for summary in summaries),
        runs=[(summary, answers(summary), own) for summary, own in zip(summaries, parts, strict=True)],
    )


def combined_table(summaries: Sequence[Summary], notes: Sequence[str] = ()) -> RenderableType:
    """The same for a terminal: the answers, and what the runs have in common."""
    summaries = told_apart(summaries)
    lines = [line for answer in study_answers(summaries) for line in _answer(answer)]
    note = Text(f"Note: {MEANS_NOTE}", style="dim")
    table = comparison_table(compare(summaries, notes))
    return Group(Text(headline(summaries), style="bold"), Text(), *lines, Text(), table, Text(), note)


def combined_markdown(summaries: Sequence[Summary], notes: Sequence[str] = ()) -> str:
    """The whole report as a Markdown document."""
    summaries = told_apart(summaries)
    tables = [
        ("The runs", runs_table(summaries)),
        ("Settings", settings_table(summaries)),
        ("What each parameter does", effects_table(summaries)),
        ("Pretraining", pretraining_table(summaries)),
        ("Multitask", multitask_table(summaries)),
        ("Hardware", "\n\n".join(filter(None, (hardware_table(summaries), whole_host_list(summaries))))),
        ("What it has cost", cost_table(summaries)),
        ("What measured it", meters_table(summaries)),
    ]
    sections = [f"## {title}\n\n{text}" for title, text in tables if text]
    warnings = [escape(each) for each in compare(summaries, notes).warnings]
    top = [f"# {escape(headline(summaries))}", *warnings, answers_list(summaries), MEANS_NOTE]
    return "\n\n".join([*top, *sections]) + "\n"


def headline(summaries: Sequence[Summary]) -> str:
    """The largest difference at equal accuracy that any of the runs has seen, with where a bound's interval begins."""
    found = [(each, most) for each in summaries if (most := extremes(each)) is not None]
    told = [
        (each, most.at_least if most.at_least and stands_out(most.at_least) else most.ratio.energy, most.at_least)
        for each, most in found
        if stands_out(most.at_least) or not most.dearest.tied_with_cheapest
    ]
    if not told:
        return sentence(summaries[0]) if len(summaries) == 1 else f"{len(summaries)} runs side by side"
    summary, largest, bound = max(told, key=lambda each: each[1].value)
    times = f"up to {bare_ratio(largest, summary)}"
    remarks = [summary.name, *(["estimated"] if summary.estimated else [])]
    if largest is bound:
        times = or_more_text(largest, estimated=summary.estimated)
        remarks.append(surely_text(largest, summary))
    return f"At equal accuracy the dearest setting takes {times} the energy of the cheapest ({', '.join(remarks)})"


def _answer(answer: Answer) -> list[Text]:
    heads = (f"{line.run}: " if line.run else "" for line in answer.lines)
    lines = [Text(f"  {head}{line.short}: {line.brief}") for head, line in zip(heads, answer.lines, strict=True)]
    return [Text(answer.question, style="bold"), *lines]


def _figures(summary: Summary, index: int) -> list[Figure]:
    return [replace(figure, key=f"run-{index}-{figure.key}") for figure in figures_of_a_part(summary)]
