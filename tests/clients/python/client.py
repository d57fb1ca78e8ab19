"""Lists, creates, watches and patches with the official Python client."""

from kubernetes import client, config, watch

config.load_kube_config()
core = client.CoreV1Api()

names = [n.metadata.name for n in core.list_namespace().items]
assert "default" in names, names
print("listed default")

begin = core.list_namespaced_config_map("default")
body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="python"), data={"a": "1"})
core.create_namespaced_config_map("default", body)
print("created")

events = watch.Watch().stream(
    core.list_namespaced_config_map,
    "default",
    resource_version=begin.metadata.resource_version,
    field_selector="metadata.name=python",
    timeout_seconds=30,
)
patched = False
for event in events:
    print("watched", event["type"])
    if event["type"] == "MODIFIED":
        assert event["object"].data == {"a": "1", "b": "2"}, event
        break
    found = core.list_namespaced_config_map("default", limit=1, field_selector="metadata.name=python")
    assert [i.metadata.name for i in found.items] == ["python"]
    print("found")
    patch = {"metadata": {"labels": {"from": "python"}}, "data": {"b": "2"}}
    core.patch_namespaced_config_map("python", "default", patch)
    print("patched")
