"""Resources: what discovery of one release says, brought forward by the operations of the next.

Discovery documents are published for 1.36; 1.37 is known by its operations (paths and methods). What is new in 1.37
keeps the short names and verbs that its beta had. Only stable versions are served by default (upstream's
`betaAPIGroupVersionsDisabledByDefault` switches every beta off).
"""

import json
import re

# Upstream's order of groups in discovery: by priority of their APIService, then by name.
SPECIAL_PREFIXES = {
    ("", "replicationcontrollers"): "controllers", ("", "endpoints"): "services/endpoints", ("", "nodes"): "minions",
    ("", "services"): "services/specs", ("networking.k8s.io", "ingresses"): "ingress",
    ("apiextensions.k8s.io", "customresourcedefinitions"): "apiextensions.k8s.io/customresourcedefinitions",
    ("apiregistration.k8s.io", "apiservices"): "apiregistration.k8s.io/apiservices",
}
# Where one object is served by two group-versions, the one it is stored in.
STORED = {("events.k8s.io", "events"): "v1", ("autoscaling", "horizontalpodautoscalers"): "autoscaling/v2"}
METHODS = {"POST": ["create"], "DELETE": ["delete"], "GET": ["get"], "PATCH": ["patch"], "PUT": ["update"]}


def load(directory):
    """Groups in order: [(group, {version: {resource: entry}})]."""
    core = {}
    for r in json.loads((directory / "api__v1.json").read_text())["resources"]:
        name, _, sub = r["name"].partition("/")
        if sub:
            core[name]["subresources"].append((sub, r.get("group", ""), r.get("version", ""), r["kind"], r["verbs"]))
        else:
            core[name] = {"kind": r["kind"], "singular": r["singularName"], "namespaced": r["namespaced"],
                          "short": r.get("shortNames", []), "categories": r.get("categories", []),
                          "verbs": r["verbs"], "subresources": []}
    groups = [("", {"v1": core})]
    for g in json.loads((directory / "aggregated_v2.json").read_text())["items"]:
        name = g["metadata"].get("name", "")
        versions = {}
        for v in g["versions"]:
            resources = versions[v["version"]] = {}
            for r in v["resources"]:
                resources[r["resource"]] = {
                    "kind": r["responseKind"]["kind"], "singular": r["singularResource"],
                    "namespaced": r["scope"] == "Namespaced", "short": r.get("shortNames", []),
                    "categories": r.get("categories", []), "verbs": r["verbs"],
                    "subresources": [(s["subresource"], s["responseKind"]["group"], s["responseKind"]["version"],
                                      s["responseKind"]["kind"], s["verbs"]) for s in r.get("subresources", [])],
                }
        groups.append((name, versions))
    return groups


def operations(archive):
    """(path, method) pairs of the generated client."""
    found = set()
    for member in archive.getmembers():
        if re.search(r"/kubernetes/client/api/\w+_api\.py$", member.name):
            text = archive.extractfile(member).read().decode()
            found |= {(p, m) for m, p in re.findall(r"method='(\w+)',\s*resource_path='([^']+)'", text)}
    return found


def stable(version):
    return re.fullmatch(r"v\d+", version) is not None


def in_operations(ops):
    """{(group, version): {resource}} of the operations."""
    found = {}
    for path, _ in ops:
        m = re.match(r"/(?:api|apis/([^/]+))/(v\w+)/(?:namespaces/\{namespace\}/)?([a-z]+)(?:/|$)", path)
        if m and "{" not in m.group(2):
            found.setdefault((m.group(1) or "", m.group(2)), set()).add(m.group(3))
    return found


def resources(groups, ops, oldest, newest):
    lines, now = [], in_operations(ops)
    for group, versions in groups:
        every = list(versions) + [v for (g, v) in sorted(now) if g == group and v not in versions]
        for version in sorted((v for v in every if stable(v)), key=lambda v: -int(v[1:])):
            old = versions.get(version, {})
            for plural in list(old) + sorted(now.get((group, version), set()) - set(old)):
                entry, first = old.get(plural), 0
                if entry is None:
                    first = newest
                    entry = next((v[plural] for v in versions.values() if plural in v), None)
                    if entry is None:
                        continue
                    base = f"/apis/{group}/{version}/" + ("namespaces/{namespace}/" if entry["namespaced"] else "")
                    subs = {p.rsplit("/", 1)[1] for p, _ in ops if p.startswith(f"{base}{plural}/{{name}}/")}
                    known = {s[0] for s in entry["subresources"]}
                    entry = dict(entry, subresources=entry["subresources"] + [
                        (s, "", "", entry["kind"], ["get", "patch", "update"]) for s in sorted(subs - known)])
                lines.append(line(group, version, plural, entry, first))
                for name, g, v, kind, verbs in sorted(entry["subresources"]):
                    gv = f"{g}/{v}" if v and g else v or "-"
                    lines.append(f"  {name} {gv} {kind} {','.join(sorted(verbs))}")
    return lines


def line(group, version, plural, entry, first):
    own = f"{group}/{version}" if group else version
    words = ["resource", own, plural, entry["singular"] or entry["kind"].lower(), entry["kind"],
             "namespaced" if entry["namespaced"] else "cluster", ",".join(sorted(entry["verbs"]))]
    words += ["short=" + ",".join(entry["short"])] if entry["short"] else []
    words += ["categories=" + ",".join(entry["categories"])] if entry["categories"] else []
    prefix = SPECIAL_PREFIXES.get((group, plural))
    words += ["prefix=" + prefix] if prefix else []
    stored = STORED.get((group, plural))
    words += ["stored=" + stored] if stored and stored != own else []
    words += [f"since={first}"] if first else []
    return " ".join(words)
