#!/usr/bin/env python3
"""Puts measured figures into the README: scripts/update_readme.py runs/demo

The demo's table is what `anact report` prints. The picture is the report's two charts of
the gradient's variance, drawn by a headless Chromium. The table of speed is made of the
files of `anact bench` in results/bench.
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


def speed_table():
    ratios = {}
    for name, file in BENCHES.items():
        with open(ROOT / "results" / "bench" / file, newline="") as lines:
            for row in csv.DictReader(lines):
                key = (row["activation"], int(row["elements"]), int(row["threads"]))
                ratios.setdefault(key, {})[name] = f"{float(row['ratio_to_torch']):.2f}"
    columns = [(name, threads) for name in BENCHES for threads in (1, 2)]
    lines = [
        "| activation | elements | "
        + " | ".join(f"{n}, {t} thread{'s'[: t - 1]}" for n, t in columns)
        + " |"
    ]
    lines.append("|---|--:|" + "--:|" * len(columns))
    for activation, elements in dict.fromkeys(key[:2] for key in ratios):
        cells = [
            ratios[activation, elements, threads].get(name, "–")
            for name, threads in columns
        ]
        lines.append(f"| {activation} | {elements:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


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
    if len(sys.argv) != 2:
        sys.exit("usage: scripts/update_readme.py RUN_FOLDER")
    run = Path(sys.argv[1])
    readme = ROOT / "README.md"
    text = fill(readme.read_text(), "demo table", table(run))
    text = fill(text, "speed table", speed_table())
    IMAGE.parent.mkdir(parents=True, exist_ok=True)
    screenshot(figure_page((run / "report.html").read_text()))
    readme.write_text(text)
    print(f"update_readme: README.md and {IMAGE.relative_to(ROOT)} now show {run}")


if __name__ == "__main__":
    main()
