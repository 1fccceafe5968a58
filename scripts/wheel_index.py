#!/usr/bin/env python3
"""Writes an index of the wheels in a folder, which pip can install from (PEP 503).

scripts/wheel_index.py dist/wheels    writes dist/wheels/simple; its links are relative, so that
                                      the folder can be put on any server
"""

import hashlib
import html
import os
import sys
import urllib.parse
import zipfile
from email.parser import BytesHeaderParser
from pathlib import Path

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="pypi:repository-version" content="1.0">
<title>{title}</title>
</head>
<body>
{links}
</body>
</html>
"""


def requires_python(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (
            name
            for name in archive.namelist()
            if name.endswith(".dist-info/METADATA") and name.count("/") == 1
        )
        return BytesHeaderParser().parsebytes(archive.read(metadata))["Requires-Python"]


def link(wheel):
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    target = f"../../{urllib.parse.quote(wheel.name)}#sha256={digest}"
    needed = requires_python(wheel)
    needed = f' data-requires-python="{html.escape(needed)}"' if needed else ""
    return f'<a href="{target}"{needed}>{html.escape(wheel.name)}</a><br>'


def write(file, title, links):
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(PAGE.format(title=title, links="\n".join(links)))
    os.replace(part, file)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    wheels = sorted(folder.glob("anact-*.whl"))
    if not wheels:
        sys.exit(f"wheel_index: there is no wheel of anact in '{folder}'")
    try:
        links = [link(wheel) for wheel in wheels]
    except (ValueError, zipfile.BadZipFile) as error:
        sys.exit(f"wheel_index: a file in '{folder}' is no wheel: {error}")
    write(folder / "simple" / "anact" / "index.html", "anact", links)
    write(folder / "simple" / "index.html", "wheels", ['<a href="anact/">anact</a>'])
    print(f"wheel_index: {len(wheels)} wheel(s) in {folder}/simple/anact/index.html")


if __name__ == "__main__":
    main()
