#!/usr/bin/env python3
"""Imports facts of the Kubernetes API into one committed text table. Called by `cargo xtask import-api`.

Downloads pinned packages with the ordinary clients (pip, go), verifies their hashes, reads facts (never prose or
code) and writes the table; running it again yields the same bytes. The build never runs this.

    import_api.py OUTPUT [WORKDIR]
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

sys.dont_write_bytecode = True
import check
import discovery
from gotypes import APIEXT, META, SPECIAL_NAMES, UNIONS, Package, Source

NEWEST = 37
OLDEST = 36
PIP = {
    "kubernetes-validate==1.37.0": ("kubernetes_validate-1.37.0-py3-none-any.whl", "--only-binary=:all:",
                                    "85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9"),
    "kubernetes==37.0.2": ("kubernetes-37.0.2.tar.gz", "--no-binary=:all:",
                           "6967599ef976d0bb9c663c3621e690db0e26fbab7cf5c5e3ccf7e11b790d2de9"),
}
GO = {
    "k8s.io/api@v0.37.2": "h1:PnxqnUFy93jr2GcpWDkKOm8wfy25kT9wa572MuQS8oc=",
    "k8s.io/apimachinery@v0.37.2": "h1:G4t9RGoPDbQML38hz/kQQiltttgd3egg2ODCR8aIc2o=",
    "k8s.io/apiextensions-apiserver@v0.37.2": "h1:myaUiAlm1NRLYdpAvWYTqdgeiCepFupJiRFVVueMUYw=",
    "k8s.io/kube-aggregator@v0.37.2": "h1:cUT/C/WM3UtoREoTYthSCFxldpdG3y5q9UniWYxcmPE=",
    "k8s.io/kubernetes@v1.36.3": "h1:qDQdoMiluAE2Eab6Fa52YV+WjiGz9mZFFoagEA6cI+o=",
}
ROOTS = [
    ("k8s.io/api", "k8s.io/api@v0.37.2", ""),
    ("k8s.io/apimachinery/pkg/apis/meta", "k8s.io/apimachinery@v0.37.2", "pkg/apis/meta"),
    ("k8s.io/apimachinery/pkg/version", "k8s.io/apimachinery@v0.37.2", "pkg/version"),
    ("k8s.io/apiextensions-apiserver/pkg/apis", "k8s.io/apiextensions-apiserver@v0.37.2", "pkg/apis"),
    ("k8s.io/kube-aggregator/pkg/apis", "k8s.io/kube-aggregator@v0.37.2", "pkg/apis"),
]
# Go structs that are no API types, or have a wire form of their own.
SKIP = {(META, n) for n in SPECIAL_NAMES | {"TypeMeta", "InternalEvent", "Timestamp"}} | {(APIEXT, "JSON")}


def run(*args, **kwargs):
    return subprocess.run(args, check=True, capture_output=True, text=True, **kwargs).stdout


def fetch(work):
    """Downloads and verifies everything; returns the directories."""
    work.mkdir(parents=True, exist_ok=True)
    dirs = {}
    for spec, (name, how, sha) in PIP.items():
        file = work / name
        if not file.exists():
            run(sys.executable, "-m", "pip", "download", "--no-deps", how, spec, "-d", str(work))
        got = hashlib.sha256(file.read_bytes()).hexdigest()
        if got != sha:
            sys.exit(f"{name}: sha256 is {got}, expected {sha}")
        dirs[spec.split("==")[0]] = file
    (work / "go.mod").write_text("module import\n")
    for module, want in GO.items():
        got = json.loads(run("go", "mod", "download", "-json", module, cwd=work))
        if got["Sum"] != want:
            sys.exit(f"{module}: sum is {got['Sum']}, expected {want}")
        dirs[module] = Path(got["Dir"])
    return dirs


def packages(dirs):
    found = []
    for path, module, sub in ROOTS:
        root = dirs[module] / sub
        for directory, _, files in sorted(os.walk(root)):
            base = os.path.basename(directory)
            if "types.go" in files and (re.match(r"v\d", base) or base == "version") and "testdata" not in directory:
                rel = os.path.relpath(directory, root)
                found.append(Package(path if rel == "." else f"{path}/{rel}", directory))
    return found


def definitions(wheel):
    """OpenAPI definitions of each minor version."""
    out = {}
    with zipfile.ZipFile(wheel) as archive:
        for minor in range(OLDEST - 1, NEWEST + 1):
            name = f"kubernetes_validate/kubernetes-json-schema/v1.{minor}.0-local/_definitions.json"
            data = json.loads(archive.read(name))
            out[minor] = data.get("$defs") or data["definitions"]
    return out


def short(package):
    """`k8s.io/api/core/v1` -> `core/v1`: the name of a package inside the table."""
    return "/".join(package.path.split("/")[-2:])


def since(present):
    """First minor that has something: 0 if every version read has it (or none says)."""
    minors = [m for m in sorted(present) if present[m]]
    return 0 if not minors or minors[0] < OLDEST else minors[0]


def type_text(source, package, text):
    def name(match):
        path, struct = match.group(1), match.group(2)
        return struct if path == package.path else f"{short(source.packages[path])}.{struct}"
    return re.sub(r"([\w./-]+)#(\w+)", name, text)


def field_line(source, package, f, required, first):
    wire = "-"
    if f["number"] is not None and all(n is not None for n, _ in f["outer"]):
        wire = "/".join([f"{n}{'?' if optional else ''}" for n, optional in f["outer"]] + [str(f["number"])])
    struct = "#" in f["type"] and f["type"][0] not in "[{@"
    value = f["type"] in ("time", "microtime", "duration", "quantity", "intorstring", "raw", "fieldsv1", "json")
    keeps = not f["omitzero"] and ((not f["omitempty"]) or ((struct or value) and not f["pointer"]))
    words = [f["json"], type_text(source, package, f["type"]), wire]
    words += ["ptr"] if f["pointer"] else []
    words += ["keep"] if keeps else []
    words += ["req"] if required else []
    if f["list"] in ("set", "map"):
        words.append("list=" + ":".join([f["list"]] + f["keys"]))
    words += ["atomic"] if f["atomic"] and f["type"][0] != "[" else []
    words += ["granular"] if f["granular"] else []
    words += ["replace"] if "replace" in f["strategy"] else []
    words += ["merge"] if "merge" in f["strategy"] else []
    words += ["retainKeys"] if "retainKeys" in f["strategy"] else []
    words += ["mergeKey=" + f["merge_key"]] if f["merge_key"] else []
    words += [f"since={first}"] if first else []
    words += ["default=" + json.dumps(json.loads(f["default"]), separators=(",", ":"))] if f["default"] else []
    return "  " + " ".join(words)


def types(source, defs):
    lines = []
    for package in sorted(source.packages.values(), key=lambda p: p.path):
        group = "-" if package.group == "" else package.group or "-"
        lines.append(f"package {short(package)} {package.openapi} {group}")
        for name in sorted(package.structs):
            if (package.path, name) in SKIP:
                continue
            marks, own = package.structs[name]
            fields = source.fields(package.path, name)
            full = f"{package.openapi}.{name}"
            here = {m: defs[m].get(full) for m in defs}
            newest = here[NEWEST] or {}
            # WatchEvent is a registered kind without apiVersion and kind of its own.
            kind = name == "WatchEvent" or any(f["go"] is None and f["type"].endswith("TypeMeta") for f in own)
            words = ["type", name]
            words += ["kind"] if kind else []
            words += ["union"] if name in UNIONS else []
            words += ["atomic"] if "atomic" in marks.get("structType", []) + marks.get("mapType", []) else []
            first = since({m: here[m] is not None for m in here})
            words += [f"since={first}"] if first else []
            lines.append(" ".join(words))
            for f in fields:
                props = {m: (here[m] or {}).get("properties", {}) for m in here}
                if newest and f["json"] in newest.get("properties", {}):
                    required = f["json"] in newest.get("required", [])
                else:
                    required = not f["optional"]
                when = since({m: f["json"] in props[m] for m in props if here[m] is not None}) if newest else 0
                lines.append(field_line(source, package, f, required, when if when != first else 0))
    return lines


def main():
    output = Path(sys.argv[1])
    work = Path(sys.argv[2] if len(sys.argv) > 2 else os.environ.get("TMPDIR", "/tmp") + "/marina-import-api")
    dirs = fetch(work)
    source = Source(packages(dirs))
    defs = definitions(dirs["kubernetes-validate"])
    discovered = discovery.load(dirs["k8s.io/kubernetes@v1.36.3"] / "api" / "discovery")
    with tarfile.open(dirs["kubernetes"]) as archive:
        operations = discovery.operations(archive)
    resources = discovery.resources(discovered, operations, OLDEST, NEWEST)
    problems = check.protobuf(source, dirs) + check.definitions(source, defs[NEWEST]) \
        + check.operations(resources, operations) + check.list_keys(source)
    for problem in problems:
        print("check:", problem, file=sys.stderr)
    head = ["# Facts of the Kubernetes API, written by `cargo xtask import-api`; do not edit. The format is told in",
            "# services/api/src/table.rs. Sources (all Apache-2.0, see NOTICE):"]
    head += [f"#   PyPI {spec} sha256:{sha}" for spec, (_, _, sha) in PIP.items()]
    head += [f"#   Go {module} {want}" for module, want in GO.items()]
    head.append(f"minors {OLDEST} {NEWEST}")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("\n".join(head + types(source, defs) + resources) + "\n")


main()
