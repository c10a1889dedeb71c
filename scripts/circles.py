#!/usr/bin/env python3
"""Finds import circles: sets of files, or of folders, each of which needs every other one.

    make circles          or          python3 scripts/circles.py

An arrow goes from a file to the file that defines what it names by a path (`use crate::x::Y`, `super::y()`, a child
module's name). Re-exports are followed to the definition. A `mod` line or the re-export of a child is no arrow, and
test code (`#[cfg(test)]`) does not count. A circle that is not part of a circle in `ALLOWED` is an error.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

# What is checked: sources, and whether arrows join files or the folders (and files) directly below.
CHECKED = [
    ("crates/kernels/src", "files"),
    ("crates/sterna/src", "folders"),
    ("crates/cli/src", "files"),
    ("crates/train/src", "files"),
]

# Circles that may stay: files or folders (without `.rs`) and the reason. A part of an allowed circle is allowed too.
ALLOWED = {
    "crates/kernels/src": [],
    "crates/sterna/src": [],
    "crates/cli/src": [],
    "crates/train/src": [],
}

TEXT = re.compile(
    r'//[^\n]*|/\*.*?\*/|b?r(?P<hashes>#*)".*?"(?P=hashes)|b?"(?:[^"\\]|\\.)*"|b?\'(?:\\[^\n]{1,10}?|[^\\\'\n])\'', re.S
)
TOKEN = re.compile(r"#!?\[|[A-Za-z_][A-Za-z0-9_]*|::|[^\s]")
OPENING, CLOSING = {"(": ")", "[": "]", "{": "}"}, ")]}"


def tokens_of(text):
    """The words and signs of a source without comments, texts and test code."""
    tokens = TOKEN.findall(TEXT.sub(" ", text))
    kept, at = [], 0
    while at < len(tokens):
        if tokens[at] in ("#[", "#!["):
            end = closing(tokens, at)
            attribute = tokens[at + 1 : end]
            at = end + 1
            if attribute[:2] == ["cfg", "("] and "test" in attribute and "not" not in attribute:
                at = end_of_item(tokens, at)
        else:
            kept.append(tokens[at])
            at += 1
    return kept


def closing(tokens, at):
    """Where the bracket that opens at `at` closes."""
    depth = 0
    for i in range(at, len(tokens)):
        if tokens[i][-1] in "([{":
            depth += 1
        elif tokens[i] in CLOSING:
            depth -= 1
            if depth == 0:
                return i
    return len(tokens) - 1


def end_of_item(tokens, at):
    """Behind the item that begins at `at`: its semicolon or its closing brace."""
    while at < len(tokens):
        if tokens[at] == ";" or tokens[at] == ",":
            return at + 1
        if tokens[at][-1] in "([{":
            end = closing(tokens, at)
            if tokens[at] == "{":
                return end + 1
            at = end
        at += 1
    return at


def use_tree(tokens, at, prefix):
    """The paths of a `use` declaration, as (segments, name it gets); returns them and where the tree ends."""
    path, name = list(prefix), None
    while at < len(tokens):
        token = tokens[at]
        if token == "{":
            found, at = [], at + 1
            while tokens[at] != "}":
                below, at = use_tree(tokens, at, path)
                found += below
                at += tokens[at] == ","
            return found, at + 1
        if token == "as":
            name, at = tokens[at + 1], at + 1
        elif token in (";", ",", "}"):
            break
        elif token == "self" and path:
            pass
        elif token != "::":
            path.append(token)
        at += 1
    return [(path, name or path[-1])], at


class Crate:
    """The modules of one crate, and which names which."""

    def __init__(self, root):
        self.root = Path(root)
        self.file_of = {}  # module path -> file; inline modules belong to the file around them
        self.exports = defaultdict(dict)  # module path -> name -> the path it stands for
        self.paths = []  # (file, module, segments)
        sources = {}
        for file in sorted(self.root.rglob("*.rs")):
            parts = file.relative_to(self.root).with_suffix("").parts
            module = parts[:-1] if parts[-1] in ("lib", "main", "mod") else parts
            self.file_of[module] = file
            sources[module] = tokens_of(file.read_text())
        for module, tokens in sources.items():
            self.read(module, tokens)

    def read(self, module, tokens):
        file, at = self.file_of[module], 0
        inside = [(module, len(tokens))]
        while at < len(tokens):
            while len(inside) > 1 and at >= inside[-1][1]:
                inside.pop()
            here, token = inside[-1][0], tokens[at]
            if token == "mod" and tokens[at + 2 : at + 3] == ["{"]:
                inner = (*here, tokens[at + 1])
                self.file_of.setdefault(inner, file)
                inside.append((inner, closing(tokens, at + 2)))
                at += 3
            elif token == "use":
                public = at > 0 and (tokens[at - 1] == "pub" or tokens[at - 1] == ")")
                found, at = use_tree(tokens, at + 1, [])
                for path, name in found:
                    self.exports[here][name] = path
                    child = path[0] == "self" or (*here, path[0]) in self.file_of
                    if not (public and child):
                        self.paths.append((file, here, path))
            elif re.match(r"[A-Za-z_]", token) and tokens[at - 1 : at] != ["::"]:
                path, end = [token], at + 1
                while tokens[end : end + 1] == ["::"] and re.match(r"[A-Za-z_]", tokens[end + 1]):
                    path.append(tokens[end + 1])
                    end += 2
                if len(path) > 1:
                    self.paths.append((file, here, path))
                at = end
            else:
                at += 1

    def defined_in(self, module, path, depth=0):
        """The file that defines what `path` names in `module`; None for what is not of this crate."""
        first, rest = path[0], path[1:]
        if first == "crate":
            module = ()
        elif first == "super":
            module = module[:-1]
        elif first != "self":
            if (*module, first) in self.file_of:
                module = (*module, first)
            else:
                return None
        for i, segment in enumerate(rest):
            if segment == "super":
                module = module[:-1]
            elif (*module, segment) in self.file_of:
                module = (*module, segment)
            elif segment in self.exports[module] and depth < 8:
                target = self.exports[module][segment]
                return self.defined_in(module, [*target, *rest[i + 1 :]], depth + 1) or self.file_of[module]
            else:
                break
        return self.file_of.get(module)

    def arrows(self, unit):
        """unit -> units it names."""
        arrows = defaultdict(set)
        for file, module, path in self.paths:
            target = self.defined_in(module, path)
            if target is None:
                continue
            a, b = self.unit(file, unit), self.unit(target, unit)
            if a != b:
                arrows[a].add(b)
        return arrows

    def unit(self, file, unit):
        relative = file.relative_to(self.root)
        return relative.with_suffix("").as_posix() if unit == "files" else relative.with_suffix("").parts[0]


def circles(arrows):
    """The strongly connected components of more than one unit, largest first (Tarjan's algorithm)."""
    index, low, stack, found = {}, {}, [], []

    def visit(unit):
        index[unit] = low[unit] = len(index)
        stack.append(unit)
        for other in sorted(arrows.get(unit, ())):
            if other not in index:
                visit(other)
                low[unit] = min(low[unit], low[other])
            elif other in stack:
                low[unit] = min(low[unit], index[other])
        if low[unit] == index[unit]:
            at = stack.index(unit)
            found.append(sorted(stack[at:]))
            del stack[at:]

    for unit in sorted(arrows):
        if unit not in index:
            visit(unit)
    return sorted((circle for circle in found if len(circle) > 1), key=len, reverse=True)


def check(root, unit, allowed):
    """Prints the circles of a crate, and returns how many are not allowed."""
    arrows, wrong = Crate(root).arrows(unit), 0
    print(f"{root}: {len(arrows)} {unit}, {sum(map(len, arrows.values()))} arrows")
    for circle in circles(arrows):
        reason = next((reason for units, reason in allowed if set(circle) <= set(units.split())), None)
        print(f"  {'allowed' if reason else 'CIRCLE'} ({len(circle)}): {', '.join(circle)}")
        if reason:
            print(f"    because {reason}")
            continue
        wrong += 1
        for a in circle:
            print(f"    {a} -> {', '.join(sorted(arrows[a] & set(circle)))}")
    return wrong


if __name__ == "__main__":
    wrong = sum(check(root, unit, ALLOWED[root]) for root, unit in CHECKED)
    if wrong:
        sys.exit(f"{wrong} import circles: move what both sides need into a file below them, or argue in {__file__}")
