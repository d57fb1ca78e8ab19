//! What a container finds inside.

use crate::shell;
use kubelet_tests::{Node, container};
use serde_json::json;

pub(crate) async fn a_container_sees_configuration_secrets_and_itself(node: &Node) {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"},
        "data": {"colour": "blue", "file.conf": "a=1\n"}, "binaryData": {"raw": "AAEC"}});
    node.create("configmaps", &map).await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"password": "hunter2"}});
    node.create("secrets", &secret).await;
    let mut c = shell(
        "cat /map/file.conf; od -An -tx1 /map/raw; cat /secret/password; echo; stat -Lc %a /secret/password; \
         cat /all/labels; echo; cat /all/colour; echo; cut -c1-3 /var/run/secrets/kubernetes.io/serviceaccount/token; \
         cat /var/run/secrets/kubernetes.io/serviceaccount/namespace; echo; \
         head -1 /var/run/secrets/kubernetes.io/serviceaccount/ca.crt; cat /one; echo; touch /map/x 2>/dev/null || echo readonly",
    );
    c["volumeMounts"] = json!([
        {"name": "map", "mountPath": "/map"},
        {"name": "secret", "mountPath": "/secret", "readOnly": true},
        {"name": "all", "mountPath": "/all"},
        {"name": "map", "mountPath": "/one", "subPath": "colour"},
    ]);
    let spec = json!({
        "restartPolicy": "Never",
        "containers": [c],
        "volumes": [
            {"name": "map", "configMap": {"name": "settings"}},
            {"name": "secret", "secret": {"secretName": "keys", "defaultMode": 0o400}},
            {"name": "all", "projected": {"sources": [
                {"configMap": {"name": "settings", "items": [{"key": "colour", "path": "colour"}]}},
                {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            ]}},
        ],
    });
    node.run("volumes", spec).await;
    node.until_phase("volumes", "Succeeded").await;
    let log = node.log("volumes").await;
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(
        lines,
        [
            "a=1",
            " 00 01 02",
            "hunter2",
            "400",
            "app=\"volumes\"",
            "blue",
            "eyJ",
            "default",
            "-----BEGIN CERTIFICATE-----",
            "blue",
            "readonly",
        ]
    );
    node.delete("volumes").await;
}

pub(crate) async fn environment_limits_and_users_are_what_the_spec_says(node: &Node) {
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "env"}, "data": {"SIZE": "xl"}});
    node.create("configmaps", &map).await;
    let mut c = shell(
        "echo $SIZE $PRE_SIZE $GREETING $POD $NODE $CPU $1; id -u; id -g; hostname; cat /etc/resolv.conf; \
         grep -c envs /etc/hosts; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; \
         grep NoNewPrivs /proc/self/status; grep CapEff /proc/self/status; touch /x 2>&1 | grep -o 'Read-only'",
    );
    c["command"] = json!(["sh", "-c", c["command"][2], "sh", "$(GREETING)-$$(x)"]);
    c["env"] = json!([
        {"name": "GREETING", "value": "hello"},
        {"name": "SIZE", "valueFrom": {"configMapKeyRef": {"name": "env", "key": "SIZE"}}},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
    ]);
    c["envFrom"] = json!([{"prefix": "PRE_", "configMapRef": {"name": "env"}}]);
    c["resources"] = json!({"limits": {"cpu": "250m", "memory": "64Mi"}});
    c["securityContext"] = json!({"runAsUser": 1234, "runAsGroup": 5678, "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
    node.run("envs", json!({"restartPolicy": "Never", "containers": [c]}))
        .await;
    node.until_phase("envs", "Succeeded").await;
    let log = node.log("envs").await;
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(
        lines,
        [
            "xl xl hello envs 192.168.7.1 250 hello-$(x)",
            "1234",
            "5678",
            "envs",
            "search default.svc.cluster.local svc.cluster.local cluster.local",
            "nameserver 10.96.0.10",
            "options ndots:5",
            "1",
            "67108864",
            "NoNewPrivs:\t1",
            "CapEff:\t0000000000000000",
            "Read-only",
        ],
        "{log}"
    );
    node.delete("envs").await;
}

pub(crate) async fn a_missing_config_map_holds_the_container_until_it_comes(node: &Node) {
    let mut c = shell("echo $LATE");
    c["envFrom"] = json!([{"configMapRef": {"name": "late"}}]);
    node.run("late", json!({"restartPolicy": "Never", "containers": [c]}))
        .await;
    let reason = |p: &api::core::v1::Pod| {
        container(p).and_then(|c| c.state.as_ref()?.waiting.as_ref()?.reason.clone())
    };
    node.until("late", "held", |p| {
        reason(p).as_deref() == Some("CreateContainerConfigError")
    })
    .await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}, "data": {"LATE": "better"}});
    node.create("configmaps", &map).await;
    node.until_phase("late", "Succeeded").await;
    assert_eq!(node.log("late").await, "better\n");
    node.delete("late").await;
}
