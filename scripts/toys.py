#!/usr/bin/env python3
"""Proves that a network, a format and an endpoint are each one new file and one changed line.

    make toys          or          python3 scripts/toys.py CARGO TARGET_DIR

Each patch of testdata/toys must apply to a copy of the tree, add one file and add or replace one line. Then the copy is
built with all of them, and each toy is used through the binary. What is already compiled in TARGET_DIR is copied, not
compiled again.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOYS = ROOT / "testdata/toys"


def problem(patch):
    """What keeps a patch from being one new file and one changed line; None if nothing does."""
    new, changed = [], []
    for part in re.split(r"^(?=diff --git )", patch, flags=re.M)[1:]:
        header, *hunks = re.split(r"^(?=@@ )", part, flags=re.M)
        lines = [line for hunk in hunks for line in hunk.splitlines()[1:]]
        added, removed = (sum(line.startswith(sign) for line in lines) for sign in "+-")
        name = header.split()[3].removeprefix("b/")
        if "\nnew file mode" in header:
            new.append(name)
        elif "\nrename " in header or "\ndeleted file" in header:
            return f"{name} is moved or removed"
        else:
            changed.append((name, added, removed))
    if len(new) != 1:
        return f"{len(new)} new files instead of one: {', '.join(new)}"
    if len(changed) != 1 or changed[0][1:] not in [(1, 0), (1, 1)]:
        return "more or less than one changed line: " + ", ".join(f"{name} +{a} -{r}" for name, a, r in changed)
    return None


def copy_tree(to):
    """The working tree as git knows it, with the times of its files, so that cargo compiles only what a patch changes."""
    shutil.rmtree(to, ignore_errors=True)
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0"):
        source = ROOT / name
        if name and (source.is_file() or source.is_symlink()):
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, to / name, follow_symlinks=False)


def copy_compiled(built, to):
    """Compiled libraries, and cargo's notes on them; no programs and no incremental state."""
    shutil.rmtree(to, ignore_errors=True)
    for folder in [".fingerprint", "build"]:
        if (built / "debug" / folder).is_dir():
            shutil.copytree(built / "debug" / folder, to / "debug" / folder, symlinks=True)
    (to / "debug/deps").mkdir(parents=True, exist_ok=True)
    for file in (built / "debug/deps").glob("*"):
        if file.suffix in (".rlib", ".rmeta", ".so", ".d"):
            shutil.copy2(file, to / "debug/deps")


def endpoint(sterna, _folder):
    """A request to a real server is answered, and the endpoint is in the OpenAPI document."""
    with subprocess.Popen([sterna, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().removeprefix("listening on ").strip()
            ask = urllib.request.Request(f"{url}/toy/echo", b"Once upon a time", {"Content-Type": "text/plain"})
            answer = json.load(urllib.request.urlopen(ask, timeout=60))
            assert answer["body"] == "Once upon a time" and answer["tokens"] > 0, answer
            document = json.load(urllib.request.urlopen(f"{url}/openapi.json", timeout=60))
            assert "post" in document["paths"]["/toy/echo"], document["paths"].keys()
        finally:
            process.terminate()


CHECKS = {"endpoint": endpoint}


def main(cargo, built):
    patches = sorted(TOYS.glob("*.patch"))
    assert {patch.stem for patch in patches} == CHECKS.keys(), f"{TOYS} holds {[patch.name for patch in patches]}"
    built = Path(built).resolve()
    tree, target = built / "toys/tree", built / "toys/target"
    copy_tree(tree)
    for patch in patches:
        if wrong := problem(patch.read_text()):
            sys.exit(f"{patch}: {wrong}")
        # The copy lies inside the repository, to which git would apply the patch otherwise.
        apply = subprocess.run(["git", "apply", patch], cwd=tree, env={**os.environ, "GIT_CEILING_DIRECTORIES": tree.parent})
        if apply.returncode:
            sys.exit(f"{patch}: does not apply; make it anew from the change it describes")
        print(f"{patch.stem}: one new file, one changed line", flush=True)
    copy_compiled(built, target)
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    subprocess.run([*cargo.split(), "build", "--workspace", "--bins", "--examples"], cwd=tree, env=environment, check=True)
    for name, check in CHECKS.items():
        check(target / "debug/sterna", tree)
        print(f"{name}: works", flush=True)
    shutil.rmtree(built / "toys")


if __name__ == "__main__":
    main(*sys.argv[1:])
