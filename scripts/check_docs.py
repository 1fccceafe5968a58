#!/usr/bin/env python3
"""Checks what the documents say against what is there.

- Every relative link leads to a file, and its #anchor to a heading.
- Every path in `code` or a code block that begins with one of our folders exists.
- Every `make target` is in the Makefile.
- Every subcommand and --flag of a command line that runs `anact` is in the program's
  own --help (skipped when build/anact is not there).
"""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "build" / "anact"
FOLDERS = "cmake|docs|examples|include|lab|python|scripts|src|tests"


def fenced(text):
    """The text with everything outside fenced code blocks blanked, and the reverse."""
    code, prose, inside = [], [], False
    for line in text.split("\n"):
        fence = line.lstrip().startswith("```")
        code.append(line if inside and not fence else "")
        prose.append("" if inside or fence else line)
        inside ^= fence
    return code, prose


@cache
def anchors(path):
    """The anchors of a document's headings, as GitHub makes them."""
    result = set()
    for line in fenced(path.read_text())[1]:
        if heading := re.match(r"#+ +(.*)", line):
            slug = re.sub(r"[^\w\- ]", "", heading[1].strip().lower())
            result.add(slug.replace(" ", "-"))
    return result


@cache
def program_help(*subcommand):
    """The --help of the program or of a subcommand; None if it is not one."""
    run = subprocess.run(
        [PROGRAM, *subcommand, "--help"], check=False, capture_output=True, text=True
    )
    return run.stdout if run.returncode == 0 else None


def check_link(document, target):
    if re.match(r"[a-z]+:", target):
        return None
    path, _, anchor = target.partition("#")
    file = (document.parent / path).resolve() if path else document
    if not file.exists():
        return f"the link '{target}' leads nowhere"
    if anchor and file.suffix == ".md" and anchor not in anchors(file):
        return f"'{file.name}' has no heading '#{anchor}'"
    return None


def check_path(path):
    if not (ROOT / path).exists():
        return f"there is no '{path}'"
    return None


def check_make(target):
    if not re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE):
        return f"the Makefile has no target '{target}'"
    return None


def check_command(arguments):
    """Checks the words after `anact` in a command line."""
    if not PROGRAM.exists():
        return None
    words = re.split(r"\s+[|>#&;].*", arguments)[0].split()
    subcommand = words[:1] if words and re.fullmatch(r"[a-z]+", words[0]) else []
    text = program_help(*subcommand)
    # `anact study run` is a command of its own.
    if (
        text
        and re.fullmatch(r"[a-z]+", "".join(words[1:2]))
        and re.search(rf"^  {words[1]} ", text, re.MULTILINE)
    ):
        subcommand = words[:2]
        text = program_help(*subcommand)
    if text is None:
        return f"the program has no subcommand '{subcommand[0]}'"
    for flag in re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", " ".join(words)):
        if not re.search(rf"{flag}(?![\w-])", text):
            return f"'anact {' '.join(subcommand)}' has no flag '{flag}'"
    return None


def check_document(document):
    """Yields (line number, problem)."""
    code, prose = fenced(document.read_text())
    for number, (block, text) in enumerate(zip(code, prose, strict=True), start=1):
        spans = re.findall(r"`([^`]+)`", text)
        for target in re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text):
            yield number, check_link(document, target[0] or target[1])
        for piece in [block, *spans]:
            # A path with a placeholder or a wildcard stands for many files.
            for path in re.findall(
                rf"(?<![\w./-])(?:{FOLDERS})/[^\s`'\",:;()]*", piece
            ):
                if not re.search(r"[<>*{}$…]|\.\.\.", path):
                    yield number, check_path(path.rstrip("."))
            for target in re.findall(r"(?:^|[$;&] )make +([a-z][a-z-]*)", piece):
                yield number, check_make(target)
        for line in [block.strip().removeprefix("$ "), *spans]:
            if command := re.match(r"(?:build/|bin/|\./)?anact +(.*)", line):
                yield number, check_command(command[1])


def main():
    documents = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
    if not (ROOT / "README.md").exists():
        print("docs-check: there is no README.md", file=sys.stderr)
        return 1
    failed = False
    for document in documents:
        for number, problem in check_document(document):
            if problem:
                failed = True
                name = document.relative_to(ROOT)
                print(f"docs-check: {name}:{number}: {problem}", file=sys.stderr)
    if failed:
        return 1
    commands = "" if PROGRAM.exists() else "; commands not checked, no build/anact"
    print(f"docs-check: {len(documents)} documents pass{commands}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
