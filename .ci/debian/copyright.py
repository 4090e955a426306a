"""Print the machine-readable copyright file of the Debian package: python copyright.py SITE-PACKAGES LICENSE.

Each Python package in it says its licence in its metadata; the texts are beside that, in its .dist-info folder.
"""

from __future__ import annotations

import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

_HEAD = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: edgebird
Comment: The package holds other Python packages as their authors published
 them. What each of them says of its licence is below; whole texts are in its
 folder .dist-info, or in its own folder. The wheels of av and soundfile bring
 libraries in C: FFmpeg, and libsndfile, under the GNU Lesser General Public
 License (/usr/share/common-licenses/LGPL-3 and LGPL-2.1), and x264 and x265,
 under the GNU General Public License (/usr/share/common-licenses/GPL-2).

Files: *
Copyright: The edgebird developers
License: MIT
"""
# Licence -> where Debian has its whole text.
_COMMON = {"Apache": "Apache-2.0", "LGPL-2.1": "LGPL-2.1", "MPL 2": "MPL-2.0"}


def main(site: Path, licence: Path) -> None:
    """Print it."""
    print(_HEAD)
    for one in sorted(distributions(path=[str(site)]), key=lambda one: one.name.lower()):
        if one.name != "edgebird" and (folders := _folders(one)):
            files = "\n ".join(f"usr/lib/edgebird/lib/*/site-packages/{folder}*" for folder in folders)
            print(f"Files: {files}\n{_who(one)}\n")
    text = licence.read_text(encoding="utf-8").strip().splitlines()
    print("License: MIT")
    print("\n".join(f" {line}" if line.strip() else " ." for line in text[2:]))


def _folders(one: Distribution) -> list[str]:
    """The folders and files that it installs beside one another: `paho` and `paho_mqtt-2.2.0.dist-info`."""
    tops = {file.parts[0] for file in one.files or ()}
    return sorted(tops - {"..", "bin", "share", "include", "__pycache__"})


def _who(one: Distribution) -> str:
    told = one.metadata
    author = told.get("Author") or told.get("Author-email") or told.get("Maintainer") or f"the authors of {one.name}"
    named = [value.split(" :: ")[-1] for value in told.get_all("Classifier") or () if value.startswith("License")]
    licence = (
        told.get("License-Expression") or (named or [(told.get("License") or "see its folder").splitlines()[0]])[0]
    )
    shown = "".join(character if character.isalnum() or character in ".+-" else "-" for character in licence)
    files = [file for name, file in _COMMON.items() if name in licence]
    whole = "".join(f"\n Its text is in /usr/share/common-licenses/{file}." for file in files)
    who = " ".join(author.split())
    return f"Copyright: {who}\nLicense: {shown}\n {one.name} {one.version} says: {licence}.{whole}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
