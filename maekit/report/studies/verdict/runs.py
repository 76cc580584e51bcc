"""Whether a study has enough runs, and which of them failed or were stopped."""

from collections import Counter

from maekit.report import limits
from maekit.report.document import Finding
from maekit.report.studies.charts import cell_label
from maekit.study.define.labels import value_label
from maekit.study.define.space import short_keys
from maekit.study.saved import SavedTrial, Study
from maekit.system.numbers import plural

RANKING, FAILURES, HALVING, TRIALS = "Ranking", "Failures", "Successive halving", "Trials"


def too_few(study: Study) -> list[Finding] | None:
    """Whether runs are still to come, and whether there is more than one of each cell."""
    what, findings = study.definition, []
    if len(what.repeats) == 1:
        findings.append(
            Finding(
                "Each cell has a single run: how much another seed changes is not known, so no difference between "
                "cells is told from chance.",
                RANKING,
            )
        )
    missing = num_missing(study)
    if missing:
        wanted = what.total_cells * len(what.repeats)
        words = f"{plural(missing, 'run')} of {wanted:,} did not begin or did not end yet: the ranking may change."
        findings.append(Finding(words, TRIALS if study.trials else RANKING))
    return findings


def num_missing(study: Study) -> int:
    """Runs of the study that neither ended nor failed nor were stopped."""
    wanted = study.definition.total_cells * len(study.definition.repeats)
    over = {_run_of(one) for one in study.trials if one["state"] in ("complete", "pruned", "failed")}
    return max(0, wanted - len(over - {_run_of(one) for one in study.trials if one["state"] in ("running", "waiting")}))


def failed(study: Study) -> list[Finding] | None:
    """How many runs failed, why, and what they have in common."""
    trials = [one for one in study.trials if one["state"] == "failed"]
    if not trials:
        return []
    reasons = Counter(one.get("reason") or "for an unknown reason" for one in trials)
    few = [f"{reason} ({count})" for reason, count in reasons.most_common(limits.MOST)]
    more = f" and {len(reasons) - limits.MOST} more reasons" if len(reasons) > limits.MOST else ""
    total = len({_run_of(one) for one in study.trials})
    words = f"{plural(len({_run_of(one) for one in trials}), 'run')} of {total:,} failed: {'; '.join(few)}{more}."
    return [Finding(f"{words}{_in_common(study)}", FAILURES)]


def stopped(study: Study) -> list[Finding] | None:
    """How many runs were stopped early and so have no final value."""
    trials = [one for one in study.trials if one["state"] == "pruned" and one["reason"] != "duplicate"]
    if not trials:
        return []
    halving = study.halving is not None
    words = (
        f"{plural(len({_run_of(one) for one in trials}), 'run')} stopped early by the "
        f"{'successive halving' if halving else study.definition.pruning + ' rule'}: their cells are ranked by what "
        "they had there, below those that ended."
    )
    return [Finding(words, HALVING if halving else TRIALS)]


def _in_common(study: Study) -> str:
    """A value that all failed runs have and no run that ended; where all runs of a single cell failed, that cell."""
    bad = [one["values"] for one in study.trials if one["state"] == "failed"]
    good = [one["values"] for one in study.trials if one["state"] in ("complete", "pruned")]
    if all(cell == bad[0] for cell in bad) and bad[0] not in good:
        return f" All are of {cell_label(study, bad[0])}."
    names = short_keys(axis.key for axis in study.definition.space)
    for axis in study.definition.space:
        values = [cell.get(axis.key) for cell in bad]
        if values.count(values[0]) == len(values) and all(cell.get(axis.key) != values[0] for cell in good):
            label = value_label(study.definition.space, axis.key, values[0])
            return f" All have {names[axis.key]}={label}, and no run that ended has."
    return ""


def _run_of(trial: SavedTrial) -> tuple[str, int, str | None]:
    return (repr(sorted(trial["values"].items())), trial["seed"], trial.get("fold"))
