"""Reads facts of API types from Go source: names, types, tags and markers. Prose and code are skipped.

The struct tags of `types*.go` hold every fact of the wire forms in one place (JSON name, omission, protobuf number,
patch strategy); `generated.proto` and the OpenAPI definitions only check them (see check.py).
"""

import re
from pathlib import Path

SCALARS = {
    "string": "string", "bool": "bool", "int32": "int32", "int64": "int64", "int": "int64", "uint32": "int64",
    "float64": "float", "byte": "uint8", "uint8": "uint8", "interface{}": "json", "any": "json",
}
# Types with a wire form of their own, by (import path, name).
META = "k8s.io/apimachinery/pkg/apis/meta/v1"
APIEXT = "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
SPECIAL = {
    (META, "Time"): "time", (META, "MicroTime"): "microtime", (META, "Duration"): "duration",
    (META, "FieldsV1"): "fieldsv1",
    ("k8s.io/apimachinery/pkg/api/resource", "Quantity"): "quantity",
    ("k8s.io/apimachinery/pkg/util/intstr", "IntOrString"): "intorstring",
    ("k8s.io/apimachinery/pkg/runtime", "RawExtension"): "raw",
    (APIEXT, "JSON"): "json",
    ("k8s.io/apimachinery/pkg/types", "UID"): "string", ("k8s.io/apimachinery/pkg/types", "NodeName"): "string",
    ("k8s.io/apimachinery/pkg/types", "NamespacedName"): "string",
    ("time", "Duration"): "int64",
}
SPECIAL_NAMES = {name for (path, name) in SPECIAL if path in (META, APIEXT)}
# Structs whose JSON is one of several shapes: object, list or boolean.
UNIONS = {"JSONSchemaPropsOrArray", "JSONSchemaPropsOrBool", "JSONSchemaPropsOrStringArray"}
# Go helpers that are no API types.
SKIP = {(META, n) for n in ("InternalEvent", "Timestamp", "TypeMeta", "FieldSelectorRequirementInternal")}

FIELD = re.compile(r"^\t(?P<head>[^`/]+?)\s*(?:`(?P<tag>[^`]*)`)?\s*(?://.*)?$")
TAG = re.compile(r'(\w+):"((?:[^"\\]|\\.)*)"')


def openapi_package(path):
    """`k8s.io/api/core/v1` -> `io.k8s.api.core.v1`."""
    head, _, rest = path.partition("/")
    return ".".join(list(reversed(head.split("."))) + rest.split("/"))


class Package:
    def __init__(self, path, directory):
        self.path, self.openapi = path, openapi_package(path)
        self.structs, self.named, self.consts = {}, {}, {}
        self.nullable = set()
        self.group = None
        for file in sorted(Path(directory).glob("*.go")):
            if file.name.endswith("_test.go") or file.name.startswith("zz_") or "swagger_doc" in file.name \
                    or file.name == "generated.pb.go" or file.name.endswith("_internal.go"):
                continue
            self._read(file.read_text())
        self.version = path.rsplit("/", 1)[1]

    def _read(self, text):
        text = re.sub(r"^\t*/\*.*?\*/\n", "", text, flags=re.S | re.M)
        imports = {}
        block = re.search(r"^import \(\n(.*?)^\)", text, re.S | re.M)
        for line in (block.group(1) if block else "").splitlines() + re.findall(r"^import (.*)$", text, re.M):
            m = re.match(r'\s*(?:(\S+)\s+)?"([^"]+)"', line)
            if m:
                imports[m.group(1) or m.group(2).rsplit("/", 1)[-1]] = m.group(2)
        m = re.search(r'^(?:const|var)?\s*GroupName\s*=\s*"([^"]*)"', text, re.M)
        if m:
            self.group = m.group(1)
        for name, value in re.findall(r'^\s*(?:const\s+)?(\w+)(?:\s+[\w.]+)?\s*=\s*("(?:[^"\\]|\\.)*"|-?\d+)', text, re.M):
            self.consts[name] = value
        lines, at, comments = text.split("\n"), 0, []
        while at < len(lines):
            line = lines[at]
            at += 1
            if line.startswith("//"):
                comments.append(line[2:].strip())
                continue
            if not line.strip():
                continue
            m = re.match(r"^type (\w+) struct \{$", line)
            if m:
                body = []
                while lines[at] != "}":
                    body.append(lines[at])
                    at += 1
                self.structs[m.group(1)] = (markers(comments), self._fields(body, imports))
            elif re.match(r"^type (\w+) struct ?\{\}", line):
                self.structs[re.match(r"^type (\w+)", line).group(1)] = (markers(comments), [])
            else:
                m = re.match(r"^type (\w+) (?:= )?([\w\[\]*.]+|map\[[\w.]+\][\w.\[\]]+|interface ?\{.*)$", line)
                if m and not m.group(2).startswith("interface"):
                    self.named[m.group(1)] = (m.group(2), imports)
                    if any("protobuf.nullable=true" in c for c in comments):
                        self.nullable.add(m.group(1))
            comments = []

    @staticmethod
    def _fields(body, imports):
        fields, comments = [], []
        for line in body:
            text = line.strip()
            if text.startswith("//"):
                comments.append(text[2:].strip())
                continue
            if not text:
                continue
            m = FIELD.match(line)
            if not m:
                raise ValueError("cannot read field: " + line)
            head, tags = m.group("head").split(None, 1), dict(TAG.findall(m.group("tag") or ""))
            name, ty = (None, head[0]) if len(head) == 1 else (head[0], head[1].strip())
            fields.append({"go": name, "type": ty, "tags": tags, "markers": markers(comments), "imports": imports})
            comments = []
        return fields


def markers(comments):
    out = {}
    for line in comments:
        m = re.match(r"^\+([\w:-]+)(?:\([^)]*\))?(?:=(.*))?$", line)
        if m:
            out.setdefault(m.group(1), []).append((m.group(2) or "").strip())
    return out


class Source:
    """All packages, with names resolved."""

    def __init__(self, packages):
        self.packages = {p.path: p for p in packages}

    def resolve(self, package, imports, text):
        """A Go type as (type text of the table, is pointer)."""
        text = text.strip()
        if text.startswith("*"):
            return self.resolve(package, imports, text[1:])[0], True
        if text.startswith("[]"):
            inner = self.resolve(package, imports, text[2:])[0]
            return ("bytes" if inner == "uint8" else "[" + inner), False
        if text.startswith("map["):
            return "{" + self.resolve(package, imports, text[text.index("]") + 1:])[0], False
        if text in SCALARS:
            return SCALARS[text], False
        if "." in text:
            alias, name = text.split(".")
            path = imports[alias]
        else:
            path, name = package, text
        if (path, name) in SPECIAL:
            return SPECIAL[(path, name)], False
        owner = self.packages.get(path)
        if owner is None:
            raise KeyError(f"{package}: no package {path} for {text}")
        if name in owner.named:
            target, its_imports = owner.named[name]
            ty, pointer = self.resolve(path, its_imports, target)
            if name in owner.nullable:
                ty = "@" + ty
            return ty, pointer
        if name in owner.structs:
            return f"{path}#{name}", False
        raise KeyError(f"{package}: cannot resolve {text}")

    def fields(self, package, name):
        """The flat fields of a struct, with what JSON inlines expanded."""
        out = []
        for f in self.packages[package].structs[name][1]:
            json_tag = f["tags"].get("json")
            proto = f["tags"].get("protobuf", "")
            number = int(proto.split(",")[1]) if "," in proto and proto.split(",")[1].isdigit() else None
            parts = (json_tag or "").split(",")
            if json_tag == "-":
                continue
            if f["go"] is None and not parts[0]:
                text, pointer = f["type"], f["type"].startswith("*")
                if text.rsplit(".", 1)[-1] == "TypeMeta":
                    out += [plain("kind"), plain("apiVersion")]
                    continue
                target, _ = self.resolve(package, f["imports"], text)
                path, inner = target.split("#")
                for sub in self.fields(path, inner):
                    sub = dict(sub)
                    sub["outer"] = ([(number, pointer)] if number is not None else []) + sub["outer"]
                    if sub["json"] in ("kind", "apiVersion"):
                        sub["number"] = None
                    out.append(sub)
                continue
            if f["go"] is not None and not f["go"][0].isupper():
                continue
            ty, pointer = self.resolve(package, f["imports"], f["type"])
            json_name = parts[0] or (proto and dict(x.split("=", 1) for x in proto.split(",") if "=" in x).get("name")) or f["go"]
            m = f["markers"]
            default = (m.get("default") or m.get("k8s:default") or [None])[0]
            if default and default.startswith("ref("):
                path, _, const = default[4:-1].rpartition(".")
                default = self.packages[path or package].consts[const]
            out.append({
                "json": json_name, "type": ty, "pointer": pointer, "number": number, "outer": [],
                "omitempty": "omitempty" in parts[1:], "omitzero": "omitzero" in parts[1:],
                "optional": ("optional" in m or "k8s:optional" in m or "omitempty" in parts[1:] or "omitzero" in parts[1:])
                and "required" not in m,
                "list": (m.get("listType") or [None])[0], "keys": m.get("listMapKey", []),
                "atomic": (m.get("mapType") or m.get("structType") or [None])[0] == "atomic",
                "granular": (m.get("mapType") or m.get("structType") or [None])[0] == "granular",
                "strategy": f["tags"].get("patchStrategy", "").split(",") if f["tags"].get("patchStrategy") else [],
                "merge_key": f["tags"].get("patchMergeKey"), "default": default,
            })
        return out


def plain(name):
    return {"json": name, "type": "string", "pointer": False, "number": None, "outer": [], "omitempty": True,
            "omitzero": False, "optional": True, "list": None, "keys": [], "atomic": False, "granular": False, "strategy": [],
            "merge_key": None, "default": None}
