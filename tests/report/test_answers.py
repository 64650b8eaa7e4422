"""What runs answer in words, on the sweeps of ``example`` and ``regimes``."""

from __future__ import annotations

from dataclasses import replace
from html import unescape

from energysweep.analysis import worst_to_best
from energysweep.ledger.store import LedgerData
from energysweep.report import combined_html, combined_markdown, summarise
from energysweep.report.answers import MEANS_NOTE, answers, sentence, study_answers
from energysweep.report.answers.settings import Line, setting_lines
from energysweep.report.compare import headline
from energysweep.report.html import report_html
from tests.support import regimes
from tests.support.example import example

TIMES = "\N{MULTIPLICATION SIGN}"


def lines(data: LedgerData, question: str) -> list[Line]:
    return [
        line for answer in answers(summarise(data)) if answer.question.startswith(question) for line in answer.lines
    ]


def test_the_cheapest_setting_and_what_the_dearest_takes() -> None:
    (line,) = lines(example(), "Which setting")
    # geometric means: 20.98 J (20 and 22) against 167.8 J (160 and 176): 8 times
    assert line.short == f"{TIMES}8.00"
    assert line.brief.startswith("learning_rate=0.1 batch_size=256 reaches accuracy 0.92 for 21.0 J")
    assert "learning_rate=0.001 batch_size=16, 168 J" in line.detail
    # the closest is 1.5 times the cheapest; of 7 settings the interval reaches a factor of exp(12.43 / 2**0.5 * 0.0674)
    # = 1.81 either way (two alone would be told apart: exp(4.30 * 0.0674) = 1.34)
    assert "learning_rate=0.1 batch_size=64 cannot be told from the cheapest." in line.detail
    assert "2 of 9 settings did not always arrive, not compared" in line.detail


def uneven() -> LedgerData:
    """Setting 1 takes 1 and 9 J (geometric mean 3, arithmetic 5), setting 2 4 J; setting 3 spends 30 J in vain."""
    runs = [regimes.Run({"lr": 1}, seed, joules, 1, 1) for seed, joules in enumerate((1.0, 9.0))]
    runs += [regimes.Run({"lr": 2}, seed, 4.0, 1, 1) for seed in (0, 1)]
    runs += [regimes.Run({"lr": 3}, seed, 30.0, None, 1) for seed in (0, 1)]
    return regimes.ledger("uneven", runs, ["lr"])


def test_the_answers_are_geometric_and_say_how_sure_the_bound_of_what_never_arrived_is() -> None:
    (line,) = lines(uneven(), "Which setting")
    summary = summarise(uneven())
    found = worst_to_best([(each, each.trials) for each in summary.configurations])
    assert found is not None
    assert (found.cheapest.title, found.dearest.title) == ("lr=1", "lr=2")
    assert line.brief.startswith("lr=1 reaches accuracy 0.9 for 3.00 J; the dearest that always arrived takes")
    # 30 J over 3 J, with a half width of 26.98 / sqrt(2) * ln(9) / 2 = 20.95 in logarithms (3 settings, 1 degree)
    bound = f", a tie; one that did not takes {TIMES}10.0 or more (95 %: at least {TIMES}7.93e-09)."
    assert line.brief.endswith(bound)
    assert line.detail.startswith(
        "The dearest that always arrived is lr=2, 4.00 J. lr=2 cannot be told from the cheapest."
    )
    # neither the dearest nor the bound can be told from the cheapest
    assert line.short == "a tie"
    assert headline([summary]) == sentence(summary)  # there is nothing to put beside it


def test_a_bound_of_one_repeat_has_no_interval_and_says_so() -> None:
    data = uneven()
    summary = summarise(replace(data, trials=[row for row in data.trials if row.seed == 0]))
    (line,) = setting_lines(summary)  # 1 J, 4 J, and 30 J in vain
    assert line.short == f"{TIMES}30.0 or more"
    assert line.brief.endswith(
        f"takes {TIMES}4.00; one that did not takes {TIMES}30.0 or more (one repeat: no interval)."
    )
    assert headline([summary]) == (
        f"At equal accuracy the dearest setting takes {TIMES}30.0 or more the energy of the cheapest"
        " (uneven, one repeat: no interval)"
    )


def test_the_headline_is_no_smaller_than_what_stands_below_it() -> None:
    # 8 times in the example, where all bounds are lower; the other run's bound is 5 times
    assert headline([summarise(example()), summarise(regimes.hardware())]) == (
        f"At equal accuracy the dearest setting takes up to {TIMES}8.00 the energy of the cheapest (mnist)"
    )
    # 19.93 J (20, 22 and 18) over 3.99 J (4, 4.4 and 3.6), more than the 4 times of those that always arrived; both
    # have a variance of 0.01008 in logarithms, and 6 settings were looked at: 6.706 / sqrt(2) * sqrt(2 * 0.01008 / 3)
    # = 0.3887 for 4 degrees, exp(-0.3887) * 5
    assert headline([summarise(regimes.hardware())]) == (
        f"At equal accuracy the dearest setting takes {TIMES}5.00 or more the energy of the cheapest"
        f" (hardware, 95 %: at least {TIMES}3.39)"
    )


def test_one_note_tells_the_answers_means_from_the_sentences() -> None:
    summaries = [summarise(example())]
    for page in (combined_html(summaries), combined_markdown(summaries), report_html(summaries[0], example())):
        assert unescape(page).count(MEANS_NOTE) == 1


def test_why_is_said_as_a_product_and_by_parameter() -> None:
    (line,) = lines(example(), "Why")
    # 8 iterations of 20 J against 4 of 5 J: 2 times 4; ln 2 / ln 8 is a third
    assert line.short == "both"
    assert line.brief.startswith(f"epochs {TIMES}2.00")
    assert f"joules per epoch {TIMES}4.00" in line.brief
    assert "learning_rate acts on the epochs" in line.brief
    assert "Interaction:" in line.detail


def test_each_use_of_a_pretraining_has_its_break_even_and_its_accuracy() -> None:
    found = lines(regimes.pretraining(), "Does pretraining")
    assert [line.short for line in found] == ["after 12.5 reuses", "after 10.0 reuses"]
    assert found[1].brief.startswith("encoder frozen: break-even 10")
    # 10 J of 12 J; every repeat needs as many reports, so that each side may be half a report off
    assert f", a use takes {TIMES}0.833 (0.731 to 0.955) of an unfrozen one; " in found[1].brief
    assert "unfrozen one" not in found[0].brief
    assert found[1].brief.endswith("accuracy 0.95 (from scratch 0.95).")
    assert found[0].detail.startswith(
        "3 trainings beforehand took 300 J, 3 trainings from scratch took 60.0 J, 3 trainings with it took 36.0 J"
    )


def test_pretrained_settings_are_not_ranked_against_those_from_scratch() -> None:
    assert lines(regimes.pretraining(), "Which setting") == []
    assert lines(regimes.multitask(), "Which setting") == []
    assert "cheapest" not in sentence(summarise(regimes.multitask()))


def test_a_shared_model_is_set_against_the_sum_of_separate_ones() -> None:
    (line,) = lines(regimes.multitask(), "Does multitask")
    assert line.short == f"{TIMES}0.6"
    assert line.brief.startswith("one model for digit + parity takes")
    assert line.brief.endswith("because of the epochs.")


def test_hardware_is_named_with_what_the_dearer_takes() -> None:
    (line,) = lines(regimes.hardware(), "On which hardware")
    assert line.short == "two"
    assert line.brief.startswith(f"one takes {TIMES}2.00")
    # 5 W of idle power for an epoch's second: 2 f + 5 J against f + 5 J, with f = 1, 1.1 and 0.9
    weaker = (
        f", because of the joules per epoch; if each trial pays for its whole host's idle power, one takes {TIMES}1.17"
    )
    assert weaker in line.brief
    assert line.detail.endswith("1 did not always arrive on both.")


def test_what_all_runs_have_cost_is_their_sum() -> None:
    summaries = [summarise(data) for data in (example(), regimes.pretraining())]
    answer = study_answers(summaries)[-1]
    # 3000 J, and 300 J of pretraining, 60 + 30 + 36 J of trials and 10 J of overhead
    (line,) = answer.lines
    assert line.short == "3,436 J"
    assert "in 2 runs: 75.9 % trials" in line.brief  # (2183 + 426) / 3436
    assert "300 J went into pretraining" in line.brief


def test_a_question_that_no_run_touches_says_so() -> None:
    found = {answer.question: answer.lines for answer in study_answers([summarise(example())])}
    assert [line.brief for line in found["Does pretraining pay?"]] == ["No run can tell."]


def test_estimates_carry_their_sign_and_epochs_do_not() -> None:
    (line,) = lines(example("estimate"), "Why")
    assert f"epochs {TIMES}2.00" in line.brief
    assert f"joules per epoch ≈ {TIMES}4.00" in line.brief


def test_one_repeat_says_that_there_is_no_interval() -> None:
    data = example()
    data = replace(data, trials=[row for row in data.trials if row.seed == 0])
    (line,) = lines(data, "Which setting")
    assert "the dearest takes" in line.brief
    assert "(" not in line.brief
    assert "One repeat: no interval" in line.detail


def test_a_sweep_without_a_target_answers_none_of_the_questions() -> None:
    assert answers(summarise(example(objective={"metric": "accuracy", "mode": "max"}))) == ()
