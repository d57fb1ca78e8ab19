//! Two clusters on one store: what each credential may do in its own cluster, and that it is worth nothing in the other.

use auth::*;
use base::{Clock, ClusterId};
use http::HeaderMap;
use jiff::Timestamp;
use machinery::{Map, Value, value};
use pki::{BoundObject, ClusterKeys, ServiceAccountRef, ServingNames, Subject, TokenRequest};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store_api::{Key, Op, Record, Store, Txn};

struct Json;

fn from_json(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(b) => Value::Bool(b),
        serde_json::Value::Number(n) => Value::Int(n.as_i64().unwrap()),
        serde_json::Value::String(s) => Value::from(s),
        serde_json::Value::Array(l) => Value::List(l.into_iter().map(from_json).collect()),
        serde_json::Value::Object(m) => Value::Map(
            m.into_iter()
                .map(|(k, v)| (k.into(), from_json(v)))
                .collect::<Map>(),
        ),
    }
}

fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(b) => (*b).into(),
        Value::Int(n) => (*n).into(),
        Value::Float(n) => (*n).into(),
        Value::Str(s) => s.to_string().into(),
        Value::List(l) => l.iter().map(to_json).collect(),
        Value::Map(m) => m.iter().map(|(k, v)| (k.to_owned(), to_json(v))).collect(),
    }
}

impl Decode for Json {
    fn decode(&self, _cluster: &ClusterId, record: &Record) -> Result<Value, String> {
        serde_json::from_slice(&record.value)
            .map(from_json)
            .map_err(|e| e.to_string())
    }
}

struct World {
    store: Arc<dyn Store>,
    objects: Objects,
    clock: Clock,
    a: Cluster,
    b: Cluster,
}

fn start() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

fn cluster(id: &str) -> Cluster {
    let names = ServingNames::cluster("cluster.local", &[], &[]);
    Cluster {
        id: id.parse().unwrap(),
        minor: 37,
        keys: Arc::new(ClusterKeys::generate(&names, start()).unwrap()),
        issuer: format!("https://{id}.example.org"),
        address: None,
        service_cidr: "10.96.0.0/16".into(),
        pod_cidr: "10.244.0.0/16".into(),
        dns_domain: "cluster.local".into(),
    }
}

impl World {
    async fn new() -> Self {
        let clock = Clock::virtual_from(start());
        let store: Arc<dyn Store> = Arc::new(store_mem::MemStore::new(
            store_mem::EngineOptions::default(),
            clock.clone(),
        ));
        let objects = Objects::new(store.clone(), Arc::new(Json));
        let world = Self {
            store,
            objects,
            clock,
            a: cluster("a"),
            b: cluster("b"),
        };
        for c in [&world.a, &world.b] {
            for o in bootstrap_objects() {
                let ns = (!o.namespace.is_empty()).then_some(o.namespace.as_str());
                world.put(c, o.resource, ns, &o.name, &o.object).await;
            }
        }
        world
    }

    async fn put(&self, c: &Cluster, prefix: &str, ns: Option<&str>, name: &str, object: &Value) {
        let key = Key::object(&c.id, prefix, ns, name).unwrap();
        let bytes = serde_json::to_vec(&to_json(object)).unwrap();
        let txn = Txn {
            then: vec![Op::put(key, bytes.into())],
            ..Txn::default()
        };
        self.store.txn(&c.id, txn).await.unwrap();
    }

    async fn delete(&self, c: &Cluster, prefix: &str, ns: Option<&str>, name: &str) {
        let key = Key::object(&c.id, prefix, ns, name).unwrap();
        let txn = Txn {
            then: vec![Op::delete(&key)],
            ..Txn::default()
        };
        self.store.txn(&c.id, txn).await.unwrap();
    }

    fn authenticator(&self) -> Authenticator {
        Authenticator::new(
            self.objects.clone(),
            self.clock.clone(),
            AnonymousPolicy::default(),
        )
    }

    fn authorizer(&self) -> Authorizer {
        Authorizer::new(self.objects.clone())
    }

    fn certificate(&self, c: &Cluster, subject: Subject) -> Credentials {
        let issued = c
            .keys
            .issue_client(subject, Duration::from_secs(3600), self.clock.now())
            .unwrap();
        Credentials {
            chain: Arc::new(vec![issued.cert].into()),
            bearer: None,
        }
    }

    async fn account(&self, c: &Cluster, ns: &str, name: &str, pod: Option<&str>) -> Credentials {
        let meta = |n: &str| value!({"metadata": {"name": (n.to_owned()), "uid": (format!("uid-{n}"))}});
        self.put(c, "serviceaccounts", Some(ns), name, &meta(name)).await;
        if let Some(pod) = pod {
            self.put(c, "pods", Some(ns), pod, &meta(pod)).await;
        }
        let request = TokenRequest {
            issuer: &c.issuer,
            audiences: vec![c.issuer.clone()],
            namespace: ns,
            account: ServiceAccountRef {
                name: name.into(),
                uid: format!("uid-{name}"),
            },
            pod: pod.map(|p| BoundObject {
                name: p.into(),
                uid: format!("uid-{p}"),
            }),
            node: None,
            secret: None,
            seconds: 3600,
            warn_after: None,
        };
        let token = c.keys.sign_token(request, self.clock.now()).unwrap().0;
        Credentials {
            chain: Arc::default(),
            bearer: Some(token),
        }
    }
}

fn user(name: &str, groups: &[&str]) -> User {
    User {
        name: name.into(),
        uid: String::new(),
        groups: groups.iter().map(|g| (*g).to_owned()).collect(),
        extra: Default::default(),
        source: AuthSource::Certificate,
    }
}

fn binding(ns: Option<&str>, role: (&str, &str), subject: Value) -> Value {
    let mut object = value!({
        "metadata": {"name": "grant"},
        "roleRef": {"kind": (role.0.to_owned()), "name": (role.1.to_owned())},
        "subjects": [subject],
    });
    if let Some(ns) = ns {
        object.at_mut(&["metadata"]).insert("namespace", ns.to_owned());
    }
    object
}

#[tokio::test(start_paused = true)]
async fn a_credential_is_believed_in_its_own_cluster_and_in_no_other() {
    let w = World::new().await;
    let auth = w.authenticator();
    let shown = [
        w.certificate(&w.a, Subject::new("jane", &["system:masters"])),
        w.certificate(&w.a, Subject::node("n1")),
        w.account(&w.a, "ns", "robot", Some("p")).await,
    ];
    // The other cluster has an account and a pod of the same names and uids: only the keys differ.
    w.account(&w.b, "ns", "robot", Some("p")).await;
    for credentials in shown {
        let who = auth.authenticate(&w.a, &credentials, "/api").await.unwrap();
        assert!(who.is_in("system:authenticated"));
        assert!(
            auth.authenticate(&w.b, &credentials, "/api").await.is_err(),
            "{}",
            who.name
        );
        assert!(
            auth.authenticate(&w.b, &credentials, "/livez").await.is_err(),
            "a bad credential is not ignored"
        );
    }
}

/// Revokes everything once told.
#[derive(Default)]
struct Switch(AtomicBool);

impl Revocations for Switch {
    fn is_revoked(&self, _cluster: &ClusterId, _fingerprint: &str) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_was_believed_before_dies_with_its_hour_its_keys_or_its_revocation() {
    let mut w = World::new().await;
    let switch = Arc::new(Switch::default());
    let auth = w.authenticator().with_revocations(switch.clone());
    let shown = w.certificate(&w.a, Subject::new("jane", &[]));
    for _ in 0..2 {
        assert_eq!(
            auth.authenticate(&w.a, &shown, "/api").await.unwrap().name,
            "jane"
        );
    }
    switch.0.store(true, Ordering::Relaxed);
    assert!(auth.authenticate(&w.a, &shown, "/api").await.is_err());
    switch.0.store(false, Ordering::Relaxed);
    tokio::time::advance(Duration::from_secs(3000)).await;
    assert!(auth.authenticate(&w.a, &shown, "/api").await.is_ok());
    let before = std::mem::replace(&mut w.a.keys, cluster("a").keys);
    assert!(auth.authenticate(&w.a, &shown, "/api").await.is_err());
    w.a.keys = before;
    assert!(auth.authenticate(&w.a, &shown, "/api").await.is_ok());
    tokio::time::advance(Duration::from_secs(700)).await;
    assert!(auth.authenticate(&w.a, &shown, "/api").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_token_dies_with_its_account_its_pod_and_its_hour() {
    let w = World::new().await;
    let auth = w.authenticator();
    let token = w.account(&w.a, "ns", "robot", Some("p")).await;
    let who = auth.authenticate(&w.a, &token, "/api").await.unwrap();
    assert_eq!(who.service_account(), Some(("ns", "robot")));
    assert_eq!(who.extra["authentication.kubernetes.io/pod-name"], ["p"]);
    assert_eq!(
        who.groups,
        [
            "system:serviceaccounts",
            "system:serviceaccounts:ns",
            "system:authenticated"
        ]
    );
    w.delete(&w.a, "pods", Some("ns"), "p").await;
    assert!(auth.authenticate(&w.a, &token, "/api").await.is_err());
    w.put(
        &w.a,
        "pods",
        Some("ns"),
        "p",
        &value!({"metadata": {"name": "p", "uid": "another"}}),
    )
    .await;
    assert!(auth.authenticate(&w.a, &token, "/api").await.is_err());

    let token = w.account(&w.a, "ns", "other", None).await;
    let audiences = ["vault".to_owned()];
    let text = token.bearer.clone().unwrap();
    assert!(
        auth.token(&w.a, &text, &audiences).await.is_err(),
        "another audience"
    );
    tokio::time::advance(Duration::from_secs(3000)).await;
    assert!(auth.authenticate(&w.a, &token, "/api").await.is_ok());
    tokio::time::advance(Duration::from_secs(700)).await;
    assert!(auth.authenticate(&w.a, &token, "/api").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn nobody_reaches_only_health_and_version() {
    let w = World::new().await;
    let auth = w.authenticator();
    for open in ["/livez", "/readyz/ping", "/healthz", "/version"] {
        assert_eq!(
            auth.authenticate(&w.a, &Credentials::default(), open)
                .await
                .unwrap()
                .name,
            "system:anonymous"
        );
    }
    for closed in ["/", "/api", "/livezz", "/version/x", "/apis", "/openapi/v2"] {
        assert!(
            auth.authenticate(&w.a, &Credentials::default(), closed)
                .await
                .is_err(),
            "{closed}"
        );
    }
    let bad = Credentials {
        bearer: Some("nonsense".into()),
        chain: Arc::default(),
    };
    assert!(auth.authenticate(&w.a, &bad, "/livez").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_bootstrap_token_is_a_secret_of_kube_system() {
    use base64::Engine;
    let w = World::new().await;
    let auth = w.authenticator();
    let token = pki::BootstrapToken::generate();
    let b64 = |s: &str| base64::engine::general_purpose::STANDARD.encode(s);
    let secret = value!({
        "metadata": {"name": "x"},
        "type": "bootstrap.kubernetes.io/token",
        "data": {
            "token-id": (b64(token.id())), "token-secret": (b64(token.secret())),
            "usage-bootstrap-authentication": (b64("true")),
            "expiration": (b64("2026-06-01T13:00:00Z")),
            "auth-extra-groups": (b64("system:bootstrappers:worker,system:masters")),
        },
    });
    let name = format!("bootstrap-token-{}", token.id());
    w.put(&w.a, "secrets", Some("kube-system"), &name, &secret).await;
    let shown = Credentials {
        bearer: Some(token.reveal()),
        chain: Arc::default(),
    };
    let who = auth.authenticate(&w.a, &shown, "/api").await.unwrap();
    assert_eq!(
        who.groups,
        [
            "system:bootstrappers",
            "system:bootstrappers:worker",
            "system:authenticated"
        ]
    );
    assert!(auth.authenticate(&w.b, &shown, "/api").await.is_err());
    tokio::time::advance(Duration::from_secs(3601)).await;
    assert!(auth.authenticate(&w.a, &shown, "/api").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn roles_grant_what_they_say_where_they_say_it_and_at_once() {
    let w = World::new().await;
    let authz = w.authorizer();
    let jane = user("jane", &["dev", "system:authenticated"]);
    let pods = |ns| Attributes {
        namespace: ns,
        ..Attributes::resource(&jane, "list", "", "pods")
    };
    let may =
        async |c: &Cluster, asked: &Attributes<'_>| authz.authorize(&c.id, asked).await.unwrap().is_allowed();
    assert!(!may(&w.a, &pods("ns")).await, "denied by default");
    let group = value!({"kind": "Group", "name": "dev"});
    w.put(
        &w.a,
        "rolebindings",
        Some("ns"),
        "grant",
        &binding(Some("ns"), ("ClusterRole", "view"), group),
    )
    .await;
    assert_eq!(
        authz.authorize(&w.a.id, &pods("ns")).await.unwrap(),
        Decision::Allow(
            r#"RBAC: allowed by RoleBinding "grant/ns" of ClusterRole "view" to Group "dev""#.into()
        )
    );
    assert!(!may(&w.a, &pods("other")).await && !may(&w.a, &pods("")).await);
    assert!(!may(&w.b, &pods("ns")).await, "nor in the other cluster");
    let secrets = Attributes {
        namespace: "ns",
        ..Attributes::resource(&jane, "list", "", "secrets")
    };
    assert!(!may(&w.a, &secrets).await);
    w.delete(&w.a, "rolebindings", Some("ns"), "grant").await;
    assert!(!may(&w.a, &pods("ns")).await, "taken back at once");
    assert!(
        may(&w.a, &Attributes::path(&jane, "get", "/api")).await,
        "discovery is for all who are known"
    );
    let nobody = User::anonymous();
    assert!(!may(&w.a, &Attributes::path(&nobody, "get", "/api")).await);
    assert!(may(&w.a, &Attributes::path(&nobody, "get", "/healthz")).await);
    assert_eq!(
        pods("ns").forbidden_message(""),
        r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "ns""#
    );
    let scheduler = User::in_process("system:kube-scheduler");
    assert!(
        may(
            &w.a,
            &Attributes {
                namespace: "x",
                subresource: "binding",
                ..Attributes::resource(&scheduler, "create", "", "pods")
            }
        )
        .await
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_reads_what_its_own_pods_need() {
    let w = World::new().await;
    let authz = w.authorizer();
    let pod = |name: &str, node: &str, secret: &str| {
        value!({
            "metadata": {"name": (name.to_owned()), "namespace": "ns"},
            "spec": {
                "nodeName": (node.to_owned()), "serviceAccountName": "robot",
                "volumes": [{"name": "s", "secret": {"secretName": (secret.to_owned())}}, {"name": "d", "persistentVolumeClaim": {"claimName": "c1"}}],
                "containers": [{"name": "c", "envFrom": [{"configMapRef": {"name": (format!("env-{name}"))}}]}],
            },
        })
    };
    w.put(&w.a, "pods", Some("ns"), "p1", &pod("p1", "n1", "s1"))
        .await;
    let mut p2 = pod("p2", "n2", "s2");
    p2.at_mut(&["spec"]).remove("volumes");
    w.put(&w.a, "pods", Some("ns"), "p2", &p2).await;
    let volume = value!({"metadata": {"name": "v1"}, "spec": {"claimRef": {"namespace": "ns", "name": "c1"}, "csi": {"nodeStageSecretRef": {"namespace": "vault", "name": "key"}, "controllerPublishSecretRef": {"namespace": "vault", "name": "admin"}}}});
    w.put(&w.a, "persistentvolumes", None, "v1", &volume).await;
    let node = |n: &str| {
        user(
            &format!("system:node:{n}"),
            &["system:nodes", "system:authenticated"],
        )
    };
    let (n1, n2) = (node("n1"), node("n2"));
    let cases: &[(&str, &str, &str, &str, &str, bool, bool)] = &[
        // verb, resource, sub-resource, namespace, name, node 1, node 2
        ("get", "secrets", "", "ns", "s1", true, false),
        ("get", "secrets", "", "other", "s1", false, false),
        ("list", "secrets", "", "ns", "", false, false),
        ("update", "secrets", "", "ns", "s1", false, false),
        ("get", "configmaps", "", "ns", "env-p1", true, false),
        ("get", "configmaps", "", "ns", "env-p2", false, true),
        ("get", "persistentvolumeclaims", "", "ns", "c1", true, false),
        ("get", "persistentvolumes", "", "", "v1", true, false),
        ("get", "secrets", "", "vault", "key", true, false),
        ("get", "secrets", "", "vault", "admin", false, false),
        ("create", "serviceaccounts", "token", "ns", "robot", true, true),
        ("create", "serviceaccounts", "token", "ns", "admin", false, false),
        ("get", "pods", "", "ns", "p1", true, false),
        ("list", "pods", "", "", "", false, false),
        ("patch", "pods", "status", "ns", "p1", true, true),
        ("get", "nodes", "", "", "n1", true, false),
        ("list", "nodes", "", "", "", false, false),
        ("delete", "nodes", "", "", "n1", false, false),
        ("list", "services", "", "", "", true, true),
    ];
    for (verb, resource, subresource, namespace, name, first, second) in cases {
        for (who, expected) in [(&n1, first), (&n2, second)] {
            let asked = Attributes {
                subresource,
                namespace,
                name,
                ..Attributes::resource(who, verb, "", resource)
            };
            let got = authz.authorize(&w.a.id, &asked).await.unwrap().is_allowed();
            assert_eq!(
                got, *expected,
                "{} {verb} {resource}/{subresource} {namespace}/{name}",
                who.name
            );
            let elsewhere = authz.authorize(&w.b.id, &asked).await.unwrap().is_allowed();
            assert!(!elsewhere || !matches!(*resource, "secrets" | "configmaps" | "serviceaccounts"));
        }
    }
    for (selector, ok) in [
        ("spec.nodeName=n1", true),
        ("spec.nodeName==n1", true),
        ("spec.nodeName!=n1", false),
        ("spec.nodeName=n2", false),
    ] {
        let asked = Attributes {
            field_selector: selector,
            ..Attributes::resource(&n1, "watch", "", "pods")
        };
        assert_eq!(
            authz.authorize(&w.a.id, &asked).await.unwrap().is_allowed(),
            ok,
            "{selector}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_grants_what_they_do_not_hold() {
    let w = World::new().await;
    let authz = w.authorizer();
    let jane = user("jane", &["system:authenticated"]);
    let subject = || value!({"kind": "User", "name": "jane"});
    w.put(
        &w.a,
        "rolebindings",
        Some("ns"),
        "grant",
        &binding(Some("ns"), ("ClusterRole", "admin"), subject()),
    )
    .await;
    let id = &w.a.id;
    let edit = binding(Some("ns"), ("ClusterRole", "edit"), subject());
    assert!(authz.check_binding(id, &jane, "ns", &edit).await.is_ok());
    assert!(authz.check_binding(id, &jane, "other", &edit).await.is_err());
    assert!(
        authz
            .check_binding(id, &jane, "", &binding(None, ("ClusterRole", "view"), subject()))
            .await
            .is_err()
    );
    let all = binding(Some("ns"), ("ClusterRole", "cluster-admin"), subject());
    let error = authz
        .check_binding(id, &jane, "ns", &all)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("user \"jane\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}"), "{error}");
    let role = |verb: &str| value!({"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": [(verb.to_owned())]}]});
    assert!(
        authz
            .check_role(id, &jane, "ns", &role("get"), None)
            .await
            .is_ok()
    );
    assert!(authz.check_role(id, &jane, "ns", &role("*"), None).await.is_err());
    let mut gathers = role("get");
    gathers
        .at_mut(&["aggregationRule"])
        .insert("clusterRoleSelectors", value!([{"matchLabels": {"a": "b"}}]));
    let root = user("root", &["system:masters"]);
    assert!(authz.check_role(id, &root, "", &gathers, None).await.is_ok());
    assert!(authz.check_role(id, &jane, "ns", &gathers, None).await.is_err());
    let missing = binding(Some("ns"), ("Role", "nothing"), subject());
    assert!(authz.check_binding(id, &jane, "ns", &missing).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn impersonation_stays_inside_what_the_cluster_allows() {
    let w = World::new().await;
    let authz = w.authorizer();
    let rules = value!([{"apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"], "verbs": ["impersonate"]}]);
    w.put(
        &w.a,
        "clusterroles",
        None,
        "as-bob",
        &value!({"metadata": {"name": "as-bob"}, "rules": rules}),
    )
    .await;
    w.put(
        &w.a,
        "clusterrolebindings",
        None,
        "grant",
        &binding(
            None,
            ("ClusterRole", "as-bob"),
            value!({"kind": "User", "name": "jane"}),
        ),
    )
    .await;
    let jane = user("jane", &["system:authenticated"]);
    let headers = |list: &[(&'static str, &'static str)]| {
        let mut map = HeaderMap::new();
        for (k, v) in list {
            map.append(*k, v.parse().unwrap());
        }
        map
    };
    let act = async |c: &Cluster, who: &User, list: &[(&'static str, &'static str)]| {
        impersonate(&authz, &c.id, who, &headers(list)).await
    };
    assert!(act(&w.a, &jane, &[]).await.unwrap().is_none());
    let bob = act(&w.a, &jane, &[("impersonate-user", "bob")])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (bob.name.as_str(), &bob.groups[..]),
        ("bob", &["system:authenticated".to_owned()][..])
    );
    assert!(
        act(&w.b, &jane, &[("impersonate-user", "bob")]).await.is_err(),
        "not in the other cluster"
    );
    assert!(act(&w.a, &jane, &[("impersonate-user", "alice")]).await.is_err());
    assert!(
        act(
            &w.a,
            &jane,
            &[
                ("impersonate-user", "bob"),
                ("impersonate-group", "system:masters")
            ]
        )
        .await
        .is_err()
    );
    assert!(
        act(
            &w.a,
            &jane,
            &[("impersonate-user", "bob"), ("impersonate-uid", "1")]
        )
        .await
        .is_err()
    );
    assert!(
        act(
            &w.a,
            &jane,
            &[("impersonate-user", "bob"), ("impersonate-extra-scopes", "all")]
        )
        .await
        .is_err()
    );
    assert!(matches!(
        act(&w.a, &jane, &[("impersonate-group", "dev")]).await,
        Err(ImpersonationError::BadRequest(_))
    ));
    let root = user("root", &["system:masters", "system:authenticated"]);
    let robot = act(
        &w.a,
        &root,
        &[
            ("impersonate-user", "system:serviceaccount:ns:robot"),
            ("impersonate-extra-acme.com%2fproject", "x"),
        ],
    )
    .await
    .unwrap()
    .unwrap();
    assert_eq!(
        robot.groups,
        [
            "system:serviceaccounts",
            "system:serviceaccounts:ns",
            "system:authenticated"
        ]
    );
    assert_eq!(robot.extra["acme.com/project"], ["x"]);
}
