#!/usr/bin/env python3
"""Make the two virtual environments the checks run in: .venv (gradio 4) and .venv-gradio3 (gradio 3).

Both hold the pins of the hosts they stand for. The second one carries only what differs and sees the rest of the first
one through a .pth file, whose folder comes after its own: torch, scipy and the tools are installed once. Beside them
.venv-packages is a folder of packages that neither sees, for tests in a process of their own.
Standard library only: this runs before anything is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FIRST = ROOT / ".venv"
SECOND = ROOT / ".venv-gradio3"
PACKAGES = ROOT / ".venv-packages"
UV = "uv==0.13.8"
ATTEMPTS = 4
# Read in both environments after installing: a wrong search order would show here and not as an odd test failure.
EXPECTED = {
    FIRST: {"gradio": "4.40.0", "pydantic": "2.8.2", "fastapi": "0.104.1", "torch": "2.13.0", "numpy": "1.26.2"},
    SECOND: {"gradio": "3.41.2", "pydantic": "1.10.27", "fastapi": "0.94.0", "torch": "2.13.0", "numpy": "1.26.2"},
}


def say(text: str) -> None:
    """Print one line at once, so that a log shows where time goes."""
    print(f"[install] {text}", flush=True)


def run(command: list[str], attempts: int = 1) -> None:
    """Run a command; with several attempts, wait a little longer after each failure (registries time out)."""
    environment = dict(os.environ, UV_HTTP_TIMEOUT="180", UV_LINK_MODE=os.environ.get("UV_LINK_MODE", "hardlink"))
    if environment.get("PIP_FIND_LINKS"):  # uv does not read pip's variables
        environment.setdefault("UV_FIND_LINKS", environment["PIP_FIND_LINKS"].replace(" ", ","))
    environment.pop("PYTHONPATH", None)
    for attempt in range(1, attempts + 1):
        code = subprocess.run(command, env=environment, check=False).returncode
        if code == 0:
            return
        say(f"attempt {attempt} of {attempts} failed with {code}: {' '.join(command)}")
        if attempt < attempts:
            time.sleep(5 * attempt)
    raise SystemExit(f"failed: {' '.join(command)}")


def python_of(venv: Path) -> Path:
    """Interpreter of an environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def site_packages(venv: Path) -> Path:
    """Folder an environment installs into."""
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    out = subprocess.run([str(python_of(venv)), "-c", code], capture_output=True, text=True, check=True).stdout
    return Path(out.strip())


def installer(venv: Path) -> list[str]:
    """Return the command that installs into an environment: uv, or pip where uv does not start.

    At a terminal both show how far they are; a log is left with the lines of ``say``.
    """
    quiet = [] if sys.stdout.isatty() else ["--quiet"]
    uv = python_of(FIRST).parent / "uv"
    if uv.exists() and subprocess.run([str(uv), "--version"], check=False, capture_output=True).returncode == 0:
        return [str(uv), "pip", "install", *quiet, "--python", str(python_of(venv))]
    return [str(python_of(FIRST)), "-m", "pip", "--python", str(python_of(venv)), "install", *quiet]


def requirement_lines(path: Path) -> list[str]:
    """Requirements of a file, without comments."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def make_first() -> None:
    """Make .venv: pins, torch, then what must not choose its own torch."""
    say(f"python {sys.version.split()[0]}: {FIRST.name}")
    run([sys.executable, "-m", "venv", "--clear", str(FIRST)])
    try:
        run([str(python_of(FIRST)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV], ATTEMPTS)
    except SystemExit:
        say("no uv, going on with pip")
    install = installer(FIRST)
    say("1 of 5: hosts' pins and tools")
    run([*install, "--no-deps", "-r", str(HERE / "gradio4.txt")], ATTEMPTS)
    say("2 of 5: torch, the largest download")
    run([*install, "-r", str(HERE / "torch.txt"), "-c", str(HERE / "gradio4.txt")], ATTEMPTS)
    say("3 of 5: k-diffusion and torchvision, without their dependencies")
    run([*install, "--no-deps", "-r", str(HERE / "nodeps.txt")], ATTEMPTS)


def make_second() -> None:
    """Make .venv-gradio3: what differs from .venv, and a way to the rest of it."""
    say(f"4 of 5: {SECOND.name}, gradio 3")
    run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(SECOND)])
    shared = set(requirement_lines(HERE / "gradio4.txt"))
    own = [line for line in requirement_lines(HERE / "gradio3.txt") if line not in shared]
    listed = SECOND / "own-requirements.txt"
    listed.write_text("\n".join(own) + "\n", encoding="utf-8")
    run([*installer(SECOND), "--no-deps", "-r", str(listed)], ATTEMPTS)
    (site_packages(SECOND) / "first-environment.pth").write_text(f"{site_packages(FIRST)}\n", encoding="utf-8")


def make_packages() -> None:
    """Make .venv-packages: what changes the ways of others wherever it can be imported."""
    say(f"5 of 5: {PACKAGES.name}, PEFT and accelerate")
    listed = ["--no-deps", "--target", str(PACKAGES), "-r", str(HERE / "packages.txt")]
    run([*installer(FIRST), *listed], ATTEMPTS)


def check() -> None:
    """Ask both interpreters which versions they see."""
    code = "import sys; from importlib.metadata import version; print(*(version(n) for n in sys.argv[1:]))"
    for venv, wanted in EXPECTED.items():
        command = [str(python_of(venv)), "-c", code, *wanted]
        seen = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        pairs = dict(zip(wanted, seen, strict=True))
        for name, version in pairs.items():
            if version.split("+")[0] != wanted[name]:  # a local part (+cpu) is the build, not the version
                raise SystemExit(f"{venv.name} sees {name} {version}, wanted {wanted[name]}")
        say(f"{venv.name}: " + ", ".join(f"{name} {version}" for name, version in pairs.items()))


def main() -> None:
    """Make both environments anew."""
    start = time.monotonic()
    for folder in (SECOND, PACKAGES):
        shutil.rmtree(folder, ignore_errors=True)
    make_first()
    make_second()
    make_packages()
    check()
    say(f"ready after {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
