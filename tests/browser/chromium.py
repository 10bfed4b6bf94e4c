"""Find a Chromium for the browser tests, or get one from a package registry.

Order: ``CRDIFF_CHROMIUM``, what the system has, what an earlier run unpacked, the distribution's package (as root),
the headless build an npm package carries. Importing this touches neither disk nor network; run it as a script to have
a browser provided and its path printed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "chromium"
# The headless shell first: it does half the work for a page.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# The package holds the binary itself, brotli-compressed, so that no other download is needed.
NPM_PACKAGE = "@sparticuz/chromium@138.0.2"
NPM_INTEGRITY = "sha512-vs5qUiK6kFCzLCxZ2buWONcB6jdF3VWdYp6kH1tt56tZ78p51dMAxfWsfk9P62z/jAeqbVg4V6Rb3Ic4aAeOKQ=="
UNPACK = (
    "const fs = require('fs'), zlib = require('zlib'), [from, to] = process.argv.slice(1);"
    "fs.createReadStream(from).pipe(zlib.createBrotliDecompress()).pipe(fs.createWriteStream(to))"
)


def find() -> Path | None:
    """Return the path of a browser that is already there."""
    asked = os.environ.get("CRDIFF_CHROMIUM")
    if asked:
        return Path(asked)
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return Path(found)
    unpacked = CACHE / "chromium"
    return unpacked if unpacked.is_file() else None


def launch_options() -> dict[str, Any]:
    """Return keyword arguments for playwright's ``chromium.launch``."""
    path = find()
    if path is None:
        raise FileNotFoundError("no Chromium: run `make browser`")
    options: dict[str, Any] = {"executable_path": str(path), "headless": True, "args": list(FLAGS)}
    if path.parent == CACHE:  # the package's own libraries come last: a system's own are better where they exist
        search = [os.environ.get("LD_LIBRARY_PATH", ""), str(CACHE / "lib")]
        options["env"] = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(part for part in search if part)}
    return options


def from_distribution() -> Path | None:
    """Install the distribution's package; only root can, and only where apt is."""
    if os.name != "posix" or os.geteuid() != 0 or not shutil.which("apt-get"):
        return None
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    options = ["-o", "Acquire::Retries=3", "-qq"]
    for command in (["update"], ["install", "-y", "--no-install-recommends", NAMES[0]]):
        result = subprocess.run(["apt-get", *options, *command], env=environment, check=False, stdout=sys.stderr)
        if result.returncode != 0:
            return None
    return find()


def from_npm() -> Path | None:
    """Unpack the headless build of the npm package into the cache folder."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        return None
    CACHE.mkdir(parents=True, exist_ok=True)
    command = [npm, "pack", "--json", "--fetch-retries=4", NPM_PACKAGE]
    packed = subprocess.run(command, cwd=CACHE, check=False, capture_output=True, text=True)
    if packed.returncode != 0:
        print(packed.stderr, file=sys.stderr)
        return None
    described = json.loads(packed.stdout)[0]
    if described["integrity"] != NPM_INTEGRITY:
        raise RuntimeError(f"{NPM_PACKAGE} is not the package this was written for: {described['integrity']}")
    archive = CACHE / described["filename"]
    with tarfile.open(archive) as tar:
        tar.extractall(CACHE, filter="data")
    archive.unlink()
    packages = CACHE / "package" / "bin"
    for name in ("al2023.tar", "swiftshader.tar", "chromium"):  # the binary last: it marks a complete unpacking
        partial = CACHE / f"{name}.part"
        subprocess.run([node, "-e", UNPACK, str(packages / f"{name}.br"), str(partial)], check=True)
        if name.endswith(".tar"):
            with tarfile.open(partial) as tar:
                tar.extractall(CACHE, filter="data")
            partial.unlink()
        else:
            partial.chmod(0o755)
            partial.rename(CACHE / name)
    shutil.rmtree(CACHE / "package")
    return find()


def main() -> None:
    """Print the path of a browser, provided if need be."""
    path = find() or from_distribution() or from_npm()
    if path is None:
        raise SystemExit("no Chromium found and none could be installed; set CRDIFF_CHROMIUM to one")
    print(f"browser: {path}")


if __name__ == "__main__":
    main()
