#!/usr/bin/env python3
"""Puts measured figures into the README.

scripts/update_readme.py demo runs/demo   the demo's table, which is what `anact report` prints, and
                                          the picture: the report's two charts of the gradient's
                                          variance, drawn by a headless Chromium
scripts/update_readme.py speed            the tables of speed, from the CSVs in results/bench
"""

import csv
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGE = ROOT / "docs" / "images" / "demo.png"
BENCHES = {"AVX2": "avx2.csv", "AVX-512": "avx512.csv"}
SHOWN = ["silu", "gelu", "mish", "softplus", "tanh", "sigmoid", "relu", "hardswish"]
SIZES = [4096, 1048576, 16777216]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HEADING = "How the gradient passes through the layers"


def table(run):
    printed = subprocess.run(
        [ROOT / "build" / "anact", "report", run],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return "\n".join(line for line in printed.split("\n") if line.startswith("|"))


def rows_of(file):
    with open(ROOT / "results" / "bench" / file, newline="") as lines:
        return list(csv.DictReader(lines))


def markdown(header, alignment, lines):
    return "\n".join(
        f"| {' | '.join(cells)} |" if cells else f"|{alignment}|"
        for cells in [header, None, *lines]
    )


def speed_table():
    ratios = {}
    for name, file in BENCHES.items():
        for row in rows_of(file):
            if int(row["threads"]) == 1:
                key = (row["activation"], int(row["elements"]))
                column = (name, row["dtype"])
                ratio = f"{float(row['ratio_to_torch']):.2f}"
                ratios.setdefault(key, {})[column] = ratio
    columns = [(name, dtype) for name in BENCHES for dtype in ("float32", "bfloat16")]
    shown = [key for key in ratios if key[0] in SHOWN and key[1] in SIZES]
    return markdown(
        ["activation", "elements", *(f"{name}, {dtype}" for name, dtype in columns)],
        "---|--:|" + "--:|" * (len(columns) - 1) + "--:",
        [
            [activation, f"{elements:,}"]
            + [ratios[activation, elements].get(column, "–") for column in columns]
            for activation, elements in shown
        ],
    )


def step_table():
    def milliseconds(row, contender):
        return f"{float(row[f'{contender}_us_p50']) / 1e3:.1f}"

    untuned = {
        (row["network"], row["activation"], row["threads"]): row
        for row in rows_of("steps-plain-malloc.csv")
    }
    lines = []
    for row in rows_of("steps.csv"):
        key = (row["network"], row["activation"], row["threads"])
        lines.append(
            [
                *key,
                milliseconds(row, "torch"),
                milliseconds(row, "anact"),
                f"{float(row['ratio_to_torch']):.2f}",
                milliseconds(untuned[key], "torch"),
                milliseconds(untuned[key], "anact"),
            ]
        )
    header = ["network", "activation", "threads", "plain, ms", "ANAct, ms", "ratio"]
    header += ["plain, malloc untuned", "ANAct, malloc untuned"]
    return markdown(header, "---|---|--:|--:|--:|--:|--:|--:", lines)


def fill(text, name, content):
    """The text with `content` between the comments that mark the place called `name`."""
    marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    text, count = marked.subn(lambda match: match[1] + content + "\n" + match[2], text)
    if count != 1:
        sys.exit(f"update_readme: README.md has no place marked <!-- {name} -->")
    return text


def figure_page(report):
    """The page with nothing left but its style and the figure under HEADING."""
    style = re.search(r"<style>.*?</style>", report, re.DOTALL)[0]
    after = report.split(HEADING, 1)[1]
    figure = re.search(r"<figure.*?</figure>", after, re.DOTALL)[0]
    return f"<!doctype html><meta charset=utf-8>{style}<body style='padding:0.5rem'>{figure}"


def screenshot(page):
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "figure.html"
        source.write_text(page)
        for browser in BROWSERS:
            command = [
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
            ]
            command += ["--force-device-scale-factor=1.5", "--window-size=1000,430"]
            command += [
                f"--user-data-dir={folder}/profile",
                f"--screenshot={IMAGE}",
                source.as_uri(),
            ]
            try:
                subprocess.run(command, check=True, capture_output=True, timeout=120)
            except FileNotFoundError:
                continue
            return
    sys.exit(f"update_readme: none of {', '.join(BROWSERS)} is installed")


def main():
    readme = ROOT / "README.md"
    text = readme.read_text()
    match sys.argv[1:]:
        case ["demo", folder]:
            run = Path(folder)
            text = fill(text, "demo table", table(run))
            IMAGE.parent.mkdir(parents=True, exist_ok=True)
            screenshot(figure_page((run / "report.html").read_text()))
        case ["speed"]:
            text = fill(text, "speed table", speed_table())
            text = fill(text, "step table", step_table())
        case _:
            sys.exit("usage: scripts/update_readme.py demo RUN_FOLDER | speed")
    readme.write_text(text)
    print("update_readme: README.md is up to date with", *sys.argv[1:])


if __name__ == "__main__":
    main()
