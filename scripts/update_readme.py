#!/usr/bin/env python3
"""Puts a run's table and picture into the README: scripts/update_readme.py runs/demo

The table is what `anact report` prints. The picture is the report's two charts of the
gradient's variance, drawn by a headless Chromium.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGE = ROOT / "docs" / "images" / "demo.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HEADING = "How the gradient passes through the layers"


def table(run):
    printed = subprocess.run(
        [ROOT / "build" / "anact", "report", run], check=True, capture_output=True, text=True
    ).stdout
    return "\n".join(line for line in printed.split("\n") if line.startswith("|"))


def figure_page(report):
    """The page with nothing left but its style and the figure under HEADING."""
    style = re.search(r"<style>.*?</style>", report, re.S)[0]
    after = report.split(HEADING, 1)[1]
    figure = re.search(r"<figure.*?</figure>", after, re.S)[0]
    return f"<!doctype html><meta charset=utf-8>{style}<body style='padding:0.5rem'>{figure}"


def screenshot(page):
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "figure.html"
        source.write_text(page)
        for browser in BROWSERS:
            command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
            command += ["--force-device-scale-factor=1.5", "--window-size=1000,430"]
            command += [f"--user-data-dir={folder}/profile", f"--screenshot={IMAGE}", source.as_uri()]
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
    marked = re.compile(r"(<!-- demo table -->\n).*?(<!-- end -->)", re.S)
    text, count = marked.subn(lambda m: m[1] + table(run) + "\n" + m[2], readme.read_text())
    if count != 1:
        sys.exit("update_readme: README.md has no place marked <!-- demo table --> … <!-- end -->")
    IMAGE.parent.mkdir(parents=True, exist_ok=True)
    screenshot(figure_page((run / "report.html").read_text()))
    readme.write_text(text)
    print(f"update_readme: README.md and {IMAGE.relative_to(ROOT)} now show {run}")


if __name__ == "__main__":
    main()
