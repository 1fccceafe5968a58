#!/usr/bin/env python3
"""Puts the studies' tables into docs/evidence.md, from the summaries in results/.

scripts/update_evidence.py            writes
scripts/update_evidence.py --check    says whether the document has them as they are
"""

import csv
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "evidence.md"
# Which study and experiment, and a table by arm or by activation.
MARK = re.compile(
    r"<!-- study (\S+) (\S+) by-(arm|activation) -->\n.*?<!-- end of study -->",
    re.DOTALL,
)


def rows_of(study, experiment):
    with open(ROOT / "results" / study / "summary.csv", newline="") as lines:
        return [row for row in csv.DictReader(lines) if row["experiment"] == experiment]


def percent(mean, interval, signed=False):
    text = f"{100 * float(mean):{'+' if signed else ''}.1f}".replace("-", "−")
    return f"{text} ± {100 * float(interval):.1f}" if interval else text


def accuracy(row):
    if row["provisional"] == "true":
        return "trials missing"
    if not row["accuracy_mean"]:
        return "diverged" if int(row["diverged"]) else "–"
    return percent(row["accuracy_mean"], row["accuracy_ci95"])


def difference(row):
    if not row["difference_mean"] or row["provisional"] == "true":
        return "–"
    text = percent(row["difference_mean"], row["difference_ci95"], signed=True)
    return f"**{text}**" if row["excludes_zero"] == "true" else text


def rate(text):
    return f"{float(text):g}" if text else "–"


def markdown(header, lines):
    alignment = "|---" + "|--:" * (len(header) - 1) + "|"
    return "\n".join(
        [
            f"| {' | '.join(header)} |",
            alignment,
            *(f"| {' | '.join(line)} |" for line in lines),
        ]
    )


def by_activation(rows):
    """A row an activation, a column a kind of arm: for arms called ACTIVATION-KIND."""
    arms = {tuple(row["arm"].split("-", 1)): row for row in rows}
    kinds = list(dict.fromkeys(kind for _, kind in arms))
    lines = []
    for activation in dict.fromkeys(name for name, _ in arms):
        fixed, deep = arms[activation, "fixed"], arms[activation, "deep"]
        lines.append(
            [
                activation,
                *(accuracy(arms[activation, kind]) for kind in kinds),
                difference(deep),
                f"{rate(fixed['largest_stable_lr'])}, {rate(deep['largest_stable_lr'])}",
                f"{fixed['diverged']}, {deep['diverged']} of {deep['runs']}",
            ]
        )
    return markdown(
        [
            "activation",
            *kinds,
            "deep − fixed, points",
            "largest stable rate: fixed, deep",
            "diverged: fixed, deep",
        ],
        lines,
    )


def by_arm(rows):
    lines = [
        [
            row["arm"],
            f"{row['runs']} of {row['planned']}",
            rate(row["lr"]),
            accuracy(row),
            row["seeds"] if row["accuracy_mean"] else "–",
            difference(row),
            row["baseline"] or "–",
            row["diverged"],
        ]
        for row in rows
    ]
    return markdown(
        [
            "arm",
            "runs",
            "rate",
            "accuracy, %",
            "seeds",
            "difference, points",
            "against",
            "diverged",
        ],
        lines,
    )


def table(study, experiment, kind):
    rows = rows_of(study, experiment)
    if not rows:
        sys.exit(f"results/{study}/summary.csv: no experiment '{experiment}'")
    return by_activation(rows) if kind == "activation" else by_arm(rows)


def replaced(text):
    return MARK.sub(
        lambda m: (
            f"<!-- study {m[1]} {m[2]} by-{m[3]} -->\n{table(*m.groups())}\n<!-- end of study -->"
        ),
        text,
    )


def main():
    old = DOCUMENT.read_text()
    new = replaced(old)
    if sys.argv[1:] == ["--check"]:
        if new != old:
            sys.exit(
                "docs/evidence.md: its tables are not those of results/; "
                "scripts/update_evidence.py puts them in"
            )
        return
    if sys.argv[1:]:
        sys.exit(__doc__)
    DOCUMENT.write_text(new)


if __name__ == "__main__":
    main()
