"""How sure the result is: the metric's interval, classes without validation images, labels that may be wrong."""

from collections import Counter

from maekit.report import limits
from maekit.report.document import Finding
from maekit.report.runs.data_section import counts_of
from maekit.report.runs.sections import HIGH_DATA_SHARE
from maekit.report.runs.suspects import suspects
from maekit.runs.read import Run
from maekit.system.numbers import number, plural
from maekit.system.plain import finite_number, table

RESULT, CLASSES, DATA, COST = "Result", "Classes", "Data", "Cost"


def certainty(run: Run) -> list[Finding] | None:
    """Whether there are too few validation images to compare runs; None where no interval is recorded."""
    found = run.interval
    value = run.best.value if run.best.value is not None else run.val.get(found.metric) if found else None
    if found is None or value is None:
        return None
    if found.low == found.high and limits.UNSURE * found.images < limits.RULE_OF_THREE:
        words = f"{plural(found.images, 'validation image')} are few: {found.metric} {number(value)} without any spread"
        share = round(100 * (1 - 0.05 ** (1 / found.images)))
        return [Finding(f"{words} says little, since up to {share} % of new images may still go wrong.", RESULT)]
    if found.half_width <= limits.UNSURE * abs(value):
        return []
    return [
        Finding(
            f"{plural(found.images, 'validation image')} are few: {found.metric} {number(value)} may be anything from "
            f"{number(found.low)} to {number(found.high)} ({round(100 * found.level)} % interval). A difference "
            f"between two runs of less than about {number(found.half_width)} may be chance.",
            RESULT,
        )
    ]


def label_noise(run: Run) -> list[Finding] | None:
    """Which validation labels to look at; None where no scores of single images are kept."""
    counts = Counter(str(row["label"]) for row in run.image_scores if "label" in row and "probability" in row)
    if max(counts.values(), default=0) < limits.SMALL_CLASS:
        return None
    found = suspects(run)
    if not found:
        return []
    named = "; ".join(f"{one.file} ({one.label}, predicted {one.predicted})" for one in found[: limits.MOST])
    more = f" and {len(found) - limits.MOST} more" if len(found) > limits.MOST else ""
    return [Finding(f"Labels to check of {plural(len(found), 'validation image')}: {named}{more}.", CLASSES)]


def balance(run: Run) -> list[Finding] | None:
    """Rare classes, and classes that no validation image has; None where the classes were not counted."""
    found = table(run.data_facts.get("balance"))
    names = run.data_facts.get("classes")
    train, val = counts_of(found.get("train")), counts_of(found.get("val"))
    if not isinstance(names, list) or not names or not len(names) == len(train) == len(val):
        return None
    rows = sorted(zip(train, map(str, names), strict=True))
    unit = str(found.get("unit", "images"))
    findings = []
    unseen = [str(name) for name, count in zip(names, val, strict=True) if count == 0]
    if unseen:
        more = f" and {len(unseen) - limits.MOST} more" if len(unseen) > limits.MOST else ""
        some = ", ".join(unseen[: limits.MOST])
        findings.append(
            Finding(f"The validation images have no {some}{more}: how well it is found was not measured.", DATA)
        )
    (least, rarest), (most, frequent) = rows[0], rows[-1]
    rare = [(count, name) for count, name in rows if count < limits.LITTLE]
    if rare and unit != "label maps":
        some = ", ".join(f"{name} ({count:,})" for count, name in rare[: limits.MOST])
        more = f" and {len(rare) - limits.MOST} more" if len(rare) > limits.MOST else ""
        words = f"Fewer than {limits.LITTLE} training {unit}: {some}{more}. More of them help more than any setting."
        findings.append(Finding(words, DATA))
    if least and most >= limits.UNBALANCED * least:
        flags = [
            flag
            for flag in ("data.sampling balanced", "model.class_weights auto")
            if flag.split()[0] in run.flat_config and run.flat_config[flag.split()[0]] in (None, "none", "uniform")
        ]
        advice = f" Rare classes count more with --{' or --'.join(flags)}." if flags else ""
        few = plural(least, f"training {unit.removesuffix('s')}")
        findings.append(
            Finding(
                f"The classes are unbalanced: {few} of {rarest}, {most:,} of {frequent}.{advice}",
                DATA,
            )
        )
    return findings


def waiting(run: Run) -> list[Finding] | None:
    """Whether the steps waited for images; None where that was not measured."""
    share = run.number("data_share")
    if share is None:
        return None
    if share < HIGH_DATA_SHARE:
        return []
    return [
        Finding(f"The steps waited for images {round(100 * share)} % of the time; that section says what helps.", COST)
    ]


def shared_files(run: Run) -> list[Finding] | None:
    """Whether validation files are training files too; None where they were not compared."""
    found = table(run.data_facts.get("in_both_splits"))
    count, compared = finite_number(found.get("count")), counts_of(found.get("compared"))
    if count is None or len(compared) != 2:
        return None
    if not count:
        return []
    first = found.get("first")
    such = f", such as {first[1]} ({first[0]})" if isinstance(first, list) and len(first) == 2 else ""
    words = f"{int(count):,} of {compared[1]:,} validation images are training images too, byte for byte{such}"
    return [Finding(f"{words}: the result is better than it is on new images. Take them out of one side.", DATA)]
