//! What a user does with kubectl, by every kubectl that is here: those of `MARINA_KUBECTLS` (paths, separated by colons), else the
//! one in PATH.
//!
//! Each step is a command line, whether it has to succeed, and what it has to say.

use clients::{Plane, Said, run};
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

const APP: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {key: one}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 1
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: app, image: "app:1", resources: {requests: {cpu: 10m}}}]}
"#;

const MISSPELT: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: misspelt, lables: {a: b}}
"#;

struct Kubectl<'a> {
    program: &'a Path,
    plane: &'a Plane,
}

impl Kubectl<'_> {
    async fn say(&self, line: &str) -> Said {
        let mut command = Command::new(self.program);
        command
            .args(line.split(' ').map(|word| word.replace('~', " ")))
            .current_dir(self.plane.folder())
            .env("KUBECONFIG", self.plane.kubeconfig())
            .env("HOME", self.plane.folder())
            .env("KUBE_EDITOR", "sed -i s/key:/edited:/");
        run(command, Duration::from_secs(60)).await
    }

    /// It succeeds and says all of these.
    async fn does(&self, line: &str, words: &[&str]) {
        let said = self.say(line).await;
        assert!(said.ok, "kubectl {line}\n{}", said.text);
        self.has(line, &said, words);
    }

    /// It is refused and says all of these.
    async fn fails(&self, line: &str, words: &[&str]) {
        let said = self.say(line).await;
        assert!(!said.ok, "kubectl {line}\n{}", said.text);
        self.has(line, &said, words);
    }

    fn has(&self, line: &str, said: &Said, words: &[&str]) {
        for word in words {
            assert!(
                said.text.contains(word),
                "{}: kubectl {line}: no {word:?} in\n{}",
                self.program.display(),
                said.text
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_creates_looks_changes_and_deletes() {
    for program in &needs::kubectls() {
        let plane = Plane::start().await;
        for (name, text) in [("app.yaml", APP), ("misspelt.yaml", MISSPELT)] {
            std::fs::write(plane.folder().join(name), text).expect("the folder can be written");
        }
        std::fs::write(
            plane.folder().join("app2.yaml"),
            APP.replace("replicas: 1", "replicas: 2"),
        )
        .expect("the folder can be written");
        let k = Kubectl {
            program,
            plane: &plane,
        };
        generators(&k).await;
        rollouts(&k).await;
        changes(&k).await;
        files(&k).await;
        questions(&k).await;
        nodes(&k).await;
        deletions(&k).await;
        println!("{}", program.display());
    }
}

async fn generators(k: &Kubectl<'_>) {
    k.does(
        "wait --for=condition=Ready node --all --timeout=30s",
        &["node/n1 condition met"],
    )
    .await;
    k.does(
        "create deployment web --image=nginx:1 --replicas=3 --port=80",
        &["deployment.apps/web created"],
    )
    .await;
    k.does(
        "create configmap cm --from-literal=a=1 --from-literal=key=2",
        &["configmap/cm created"],
    )
    .await;
    k.does(
        "create secret generic sec --from-literal=p=x",
        &["secret/sec created"],
    )
    .await;
    k.does(
        "create job once --image=busybox -- true",
        &["job.batch/once created"],
    )
    .await;
    k.does(
        "create cronjob cron --image=busybox --schedule=*/5~*~*~*~* -- date",
        &["cronjob.batch/cron created"],
    )
    .await;
    k.does(
        "create job manual --from=cronjob/cron",
        &["job.batch/manual created"],
    )
    .await;
    k.does(
        "create service nodeport np --tcp=80:8080",
        &["service/np created"],
    )
    .await;
    k.does(
        "create service externalname ext --external-name=example.com",
        &["service/ext created"],
    )
    .await;
    k.does(
        "create ingress ing --rule=a.example.com/x*=np:80",
        &["ingress.networking.k8s.io/ing created"],
    )
    .await;
    k.does(
        "create role r --verb=get,list --resource=pods",
        &["role.rbac.authorization.k8s.io/r created"],
    )
    .await;
    k.does("create rolebinding rb --role=r --user=bob", &["rb created"])
        .await;
    k.does("create quota q --hard=pods=50", &["resourcequota/q created"])
        .await;
    k.does(
        "create poddisruptionbudget pdb --selector=app=none --min-available=1",
        &["pdb created"],
    )
    .await;
    k.does("create serviceaccount bot", &["serviceaccount/bot created"])
        .await;
    k.does("create token bot", &["ey"]).await;
    k.does("create priorityclass pc --value=100", &["pc created"])
        .await;
}

async fn rollouts(k: &Kubectl<'_>) {
    let done = ["successfully rolled out"];
    let status = "rollout status deployment/web --timeout=45s";
    k.does(status, &done).await;
    k.does(
        "get deployment web -o wide",
        &["UP-TO-DATE", "3/3", "nginx:1", "app=web"],
    )
    .await;
    k.does("get pods -o wide", &["1/1", "Running", "NOMINATED NODE"])
        .await;
    k.does(
        "get all",
        &["replicaset.apps/web-", "service/kubernetes", "job.batch/once"],
    )
    .await;
    k.does(
        "describe deployment/web",
        &[
            "3 desired | 3 updated | 3 total | 3 available",
            "ScalingReplicaSet",
        ],
    )
    .await;
    k.does(
        "describe pods -l app=web",
        &["Controlled By:  ReplicaSet/web-", "kube-api-access-"],
    )
    .await;
    k.does("set image deployment/web nginx=nginx:2", &["image updated"])
        .await;
    k.does(status, &done).await;
    k.does(
        "rollout history deployment/web",
        &["1         <none>", "2         <none>"],
    )
    .await;
    k.does("rollout undo deployment/web", &["rolled back"]).await;
    k.does(status, &done).await;
    k.does("rollout restart deployment/web", &["restarted"]).await;
    k.does(status, &done).await;
    k.does(
        "get deployment web -o jsonpath={.spec.template.spec.containers[0].image}",
        &["nginx:1"],
    )
    .await;
    k.does("scale deployment/web --replicas=2", &["scaled"]).await;
    k.fails(
        "scale deployment/web --current-replicas=4 --replicas=6",
        &["Expected replicas to be 4, was 2"],
    )
    .await;
    k.does(
        "autoscale deployment/web --min=2 --max=5 --cpu-percent=80",
        &["autoscaled"],
    )
    .await;
    k.does("get hpa", &["Deployment/web", "MINPODS"]).await;
    k.does(
        "expose deployment/web --name=web --port=80",
        &["service/web exposed"],
    )
    .await;
    k.does("describe service web", &["Type:", "ClusterIP", "10.96."])
        .await;
}

async fn changes(k: &Kubectl<'_>) {
    k.does("label deployment web tier=front", &["labeled"]).await;
    k.does("get deployment -l tier=front -L tier", &["TIER", "front"])
        .await;
    k.does(
        "annotate deployment web note=hi",
        &["deployment.apps/web annotate"],
    )
    .await;
    k.does("patch cm cm -p {\"data\":{\"c\":\"3\"}}", &["patched"])
        .await;
    k.does(
        "patch cm cm --type=merge -p {\"data\":{\"a\":null}}",
        &["patched"],
    )
    .await;
    k.does(
        "patch cm cm --type=json -p [{\"op\":\"add\",\"path\":\"/data/d\",\"value\":\"4\"}]",
        &["patched"],
    )
    .await;
    k.does("edit cm cm", &["edited"]).await;
    k.does(
        "get cm cm -o jsonpath={.data}",
        &[r#"{"c":"3","d":"4","edited":"2"}"#],
    )
    .await;
    k.does("set env deployment/web A=1", &["env updated"]).await;
    k.does(
        "patch deployment web --subresource=scale --type=merge -p {\"spec\":{\"replicas\":1}}",
        &["patched"],
    )
    .await;
}

async fn files(k: &Kubectl<'_>) {
    k.does(
        "apply -f app.yaml",
        &["configmap/conf created", "deployment.apps/app created"],
    )
    .await;
    k.does(
        "apply -f app.yaml",
        &["configmap/conf unchanged", "deployment.apps/app unchanged"],
    )
    .await;
    k.fails("diff -f app2.yaml", &["-  replicas: 1", "+  replicas: 2"])
        .await;
    k.does(
        "apply -f app2.yaml",
        &["configmap/conf unchanged", "deployment.apps/app configured"],
    )
    .await;
    k.does("apply -f app2.yaml --dry-run=server", &["(server dry run)"])
        .await;
    k.does("replace -f app2.yaml", &["replaced"]).await;
    k.fails(
        "create -f app.yaml",
        &["(AlreadyExists)", "deployments.apps \"app\" already exists"],
    )
    .await;
    k.fails(
        "apply -f misspelt.yaml",
        &["strict decoding error: unknown field \"metadata.lables\""],
    )
    .await;
    k.does(
        "apply -f misspelt.yaml --validate=warn",
        &["unknown field \"metadata.lables\"", "created"],
    )
    .await;
}

async fn questions(k: &Kubectl<'_>) {
    k.does("auth can-i create pods", &["yes"]).await;
    k.fails("auth can-i create pods --as=bob", &["no"]).await;
    k.does("auth can-i list pods --as=bob", &["yes"]).await;
    k.fails(
        "get secrets --as=bob",
        &["(Forbidden)", "User \"bob\" cannot list resource \"secrets\""],
    )
    .await;
    k.does("auth can-i --list", &["Resources"]).await;
    k.does("api-versions", &["apps/v1", "networking.k8s.io/v1"]).await;
    k.does(
        "api-resources",
        &["deployments", "deploy", "poddisruptionbudgets"],
    )
    .await;
    k.does("explain deployment.spec.strategy", &["rollingUpdate"])
        .await;
    k.does("explain pods --recursive", &["containers", "fieldRef"])
        .await;
    k.does("get events", &["ScalingReplicaSet"]).await;
    k.does("cluster-info", &["is running at"]).await;
    k.does("version", &["Server Version"]).await;
    k.fails("top nodes", &["Metrics API not available"]).await;
    k.fails(
        "get pod nothing",
        &["Error from server (NotFound): pods \"nothing\" not found"],
    )
    .await;
    k.does("get pods -A --chunk-size=1 -o name", &["pod/web-", "pod/app-"])
        .await;
    k.does("get pods -w --request-timeout=1s", &["web-"]).await;
}

async fn nodes(k: &Kubectl<'_>) {
    k.does("cordon n2", &["node/n2 cordoned"]).await;
    k.does("get node n2", &["Ready,SchedulingDisabled"]).await;
    k.does(
        "drain n2 --ignore-daemonsets --force --delete-emptydir-data --timeout=50s",
        &["node/n2 drained"],
    )
    .await;
    k.does("uncordon n2", &["node/n2 uncordoned"]).await;
    k.does("taint node n3 a=b:NoSchedule", &["tainted"]).await;
    k.does("taint node n3 a=b:NoSchedule-", &["untainted"]).await;
    k.does("describe node n1", &["Allocated resources", "KubeletReady"])
        .await;
}

async fn deletions(k: &Kubectl<'_>) {
    k.does("delete deployment web --cascade=orphan", &["\"web\" deleted"])
        .await;
    k.does("get rs -l app=web -o name", &["replicaset.apps/web-"])
        .await;
    k.does(
        "delete rs -l app=web --cascade=foreground --timeout=45s",
        &["deleted"],
    )
    .await;
    k.does("wait --for=delete pod -l app=web --timeout=20s", &[])
        .await;
    k.does(
        "delete -f app.yaml --timeout=45s",
        &["configmap \"conf\" deleted", "deployment.apps \"app\" deleted"],
    )
    .await;
    k.does("create namespace gone", &["namespace/gone created"]).await;
    k.does("create cm inside -n gone", &["configmap/inside created"])
        .await;
    k.does(
        "delete namespace gone --timeout=45s",
        &["namespace \"gone\" deleted"],
    )
    .await;
}
