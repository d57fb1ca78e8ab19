"""Checks after an import: two sources must say the same. Differences are printed, never hidden.

The rule of each check is in the reference on sources, section 6.
"""

import re

from gotypes import META


def protobuf(source, dirs):
    """Field numbers of the struct tags equal those of generated.proto."""
    problems = []
    roots = {"k8s.io/api": "k8s.io/api@", "k8s.io/apimachinery": "k8s.io/apimachinery@",
             "k8s.io/apiextensions-apiserver": "k8s.io/apiextensions-apiserver@",
             "k8s.io/kube-aggregator": "k8s.io/kube-aggregator@"}
    for package in source.packages.values():
        root = next(r for r in sorted(roots, key=len, reverse=True) if package.path.startswith(r + "/"))
        module = next(d for m, d in dirs.items() if m.startswith(roots[root]))
        file = module / package.path[len(root) + 1:] / "generated.proto"
        if not file.exists():
            continue
        for name, body in re.findall(r"^message (\w+) \{\n(.*?)^\}", file.read_text(), re.S | re.M):
            if name not in package.structs:
                continue
            numbers = sorted(int(n) for n in re.findall(r"^  [\w<>., ]+ = (\d+);", body, re.M))
            tags = sorted(int(f["tags"]["protobuf"].split(",")[1]) for f in package.structs[name][1]
                          if "," in f["tags"].get("protobuf", ""))
            if numbers != tags:
                problems.append(f"{package.openapi}.{name}: numbers {numbers} in generated.proto, {tags} in tags")
    return problems


def definitions(source, defs):
    """Fields, list types and keys equal those of the OpenAPI definitions."""
    problems = []
    for package in source.packages.values():
        for name in package.structs:
            full = f"{package.openapi}.{name}"
            if full not in defs or (package.path == META and name in ("Time", "MicroTime", "Duration", "FieldsV1")):
                continue
            if "properties" not in defs[full]:
                continue
            fields = {f["json"]: f for f in source.fields(package.path, name)}
            props = defs[full]["properties"]
            if set(fields) != set(props):
                problems.append(f"{full}: fields differ: {sorted(set(fields) ^ set(props))}")
            for key in set(fields) & set(props):
                f, p = fields[key], props[key]
                if (f["list"] or None) != p.get("x-kubernetes-list-type") and f["type"] != "bytes":
                    problems.append(f"{full}.{key}: list type {f['list']} and {p.get('x-kubernetes-list-type')}")
                if f["keys"] != p.get("x-kubernetes-list-map-keys", []):
                    problems.append(f"{full}.{key}: keys {f['keys']} and {p.get('x-kubernetes-list-map-keys')}")
                if (f["merge_key"] or None) != p.get("x-kubernetes-patch-merge-key"):
                    problems.append(f"{full}.{key}: merge key {f['merge_key']} and {p.get('x-kubernetes-patch-merge-key')}")
                need = not f["optional"]
                if need != (key in defs[full].get("required", [])):
                    problems.append(f"{full}.{key}: required {need} by its tags")
    return problems


def operations(resources, ops):
    """Each resource's path is among the operations."""
    paths, problems = {p for p, _ in ops}, []
    for line in resources:
        if not line.startswith("resource "):
            continue
        _, gv, plural, _, _, scope, verbs = line.split(" ")[:7]
        base = ("/apis/" if "/" in gv else "/api/") + gv
        path = base + ("/namespaces/{namespace}/" if scope == "namespaced" else "/") + plural
        if path not in paths:
            problems.append(f"no operation for {path}")
    return problems


def list_keys(source):
    """Each list-map key is a field of the item."""
    problems = []
    for package in source.packages.values():
        for name in package.structs:
            try:
                fields = source.fields(package.path, name)
            except (KeyError, ValueError):
                continue
            for f in fields:
                if f["list"] == "map" and "#" in f["type"]:
                    path, item = f["type"].lstrip("[{@").split("#")
                    known = {i["json"]: i for i in source.fields(path, item)}
                    for key in f["keys"]:
                        if key not in known:
                            problems.append(f"{package.openapi}.{name}.{f['json']}: key {key} is no field")
                        elif known[key]["optional"] and known[key]["default"] is None:
                            problems.append(f"{package.openapi}.{name}.{f['json']}: key {key} is optional, no default")
    return problems
