//! The calls a kubelet makes to its container runtime, with their time limits.
//!
//! Thin: no decisions. Errors keep gRPC's code, because "not found" on a removal is success.

use crate::metrics::Metrics;
use crate::names;
use crate::observed::{Instance, Observed, Sandbox};
use cri::v1;
use std::time::Duration;
use tonic::{Code, Status};

/// Most calls answer at once; upstream's limit for them.
const SHORT: Duration = Duration::from_secs(120);
/// A pull may take long; it is ended when it makes no progress by the runtime itself.
const PULL: Duration = Duration::from_secs(3600);

/// The container runtime. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine(cri::Runtime, Metrics);

/// What the runtime is.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// `containerd`
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Whether the runtime can run pods.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Whether it can run sandboxes at all.
    pub runtime: bool,
    /// Whether a network is configured.
    pub network: bool,
    /// What is wrong.
    pub message: String,
    /// Names of runtime handlers, with whether each can mount read-only recursively and make user namespaces.
    pub handlers: Vec<(String, bool, bool)>,
}

fn request<T>(message: T, limit: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(limit);
    request
}

fn ok_if_gone(result: Result<(), Status>) -> Result<(), Status> {
    match result {
        Err(status) if status.code() == Code::NotFound => Ok(()),
        other => other,
    }
}

impl Engine {
    /// Over a connection.
    pub fn new(runtime: cri::Runtime, metrics: Metrics) -> Self {
        Self(runtime, metrics)
    }

    /// Does `work` and counts it as an operation of upstream's name.
    async fn timed<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let started = base::clock::stopwatch();
        let result = work.await;
        self.1.operation(operation, started.elapsed(), result.is_err());
        result
    }

    /// The runtime's name and version.
    pub async fn version(&self) -> Result<About, Status> {
        self.timed("version", async {
            let answer = self
                .0
                .runtime
                .clone()
                .version(request(v1::VersionRequest::default(), SHORT))
                .await?
                .into_inner();
            Ok(About {
                name: answer.runtime_name,
                version: answer.runtime_version,
            })
        })
        .await
    }

    /// Whether it can run pods.
    pub async fn health(&self) -> Result<Health, Status> {
        self.timed("status", async {
            let answer = self
                .0
                .runtime
                .clone()
                .status(request(v1::StatusRequest { verbose: false }, SHORT))
                .await?
                .into_inner();
            let mut health = Health::default();
            let mut wrong = Vec::new();
            for c in answer.status.iter().flat_map(|s| &s.conditions) {
                match c.r#type.as_str() {
                    "RuntimeReady" => health.runtime = c.status,
                    "NetworkReady" => health.network = c.status,
                    _ => continue,
                }
                if !c.status {
                    wrong.push(format!(
                        "container runtime {} reason:{} message:{}",
                        c.r#type, c.reason, c.message
                    ));
                }
            }
            health.message = wrong.join("; ");
            health.handlers = answer
                .runtime_handlers
                .into_iter()
                .map(|h| {
                    let f = h.features.unwrap_or_default();
                    (h.name, f.recursive_read_only_mounts, f.user_namespaces)
                })
                .collect();
            Ok(health)
        })
        .await
    }

    /// Tells the runtime the pod range, for runtimes that make the CNI configuration themselves.
    pub async fn update_pod_cidr(&self, cidr: &str) -> Result<(), Status> {
        let network_config = Some(v1::NetworkConfig {
            pod_cidr: cidr.to_owned(),
        });
        let message = v1::UpdateRuntimeConfigRequest {
            runtime_config: Some(v1::RuntimeConfig { network_config }),
        };
        self.0
            .runtime
            .clone()
            .update_runtime_config(request(message, SHORT))
            .await?;
        Ok(())
    }

    /// Makes and starts a sandbox; its id.
    pub async fn run_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String, Status> {
        self.timed("run_podsandbox", async {
            let message = v1::RunPodSandboxRequest {
                config: Some(config),
                runtime_handler: handler.to_owned(),
            };
            let answer = self
                .0
                .runtime
                .clone()
                .run_pod_sandbox(request(message, SHORT * 2))
                .await?;
            Ok(answer.into_inner().pod_sandbox_id)
        })
        .await
    }

    /// Stops a sandbox and tears its network down. Of a sandbox that is gone, success.
    pub async fn stop_sandbox(&self, id: &str) -> Result<(), Status> {
        self.timed("stop_podsandbox", async {
            let message = v1::StopPodSandboxRequest {
                pod_sandbox_id: id.to_owned(),
            };
            ok_if_gone(
                self.0
                    .runtime
                    .clone()
                    .stop_pod_sandbox(request(message, SHORT))
                    .await
                    .map(drop),
            )
        })
        .await
    }

    /// Removes a stopped sandbox with its containers. Of a sandbox that is gone, success.
    pub async fn remove_sandbox(&self, id: &str) -> Result<(), Status> {
        self.timed("remove_podsandbox", async {
            let message = v1::RemovePodSandboxRequest {
                pod_sandbox_id: id.to_owned(),
            };
            ok_if_gone(
                self.0
                    .runtime
                    .clone()
                    .remove_pod_sandbox(request(message, SHORT))
                    .await
                    .map(drop),
            )
        })
        .await
    }

    /// One sandbox; `None` if it is gone.
    pub async fn sandbox(&self, id: &str) -> Result<Option<Sandbox>, Status> {
        self.timed("podsandbox_status", async {
            let message = v1::PodSandboxStatusRequest {
                pod_sandbox_id: id.to_owned(),
                verbose: false,
            };
            match self
                .0
                .runtime
                .clone()
                .pod_sandbox_status(request(message, SHORT))
                .await
            {
                Ok(answer) => Ok(answer.into_inner().status.as_ref().map(Sandbox::from_cri)),
                Err(status) if status.code() == Code::NotFound => Ok(None),
                Err(status) => Err(status),
            }
        })
        .await
    }

    /// All sandboxes that kubelets made, with the labels that say whose they are.
    pub async fn sandboxes(&self, uid: Option<&str>) -> Result<Vec<v1::PodSandbox>, Status> {
        self.timed("list_podsandbox", async {
            let label_selector = uid
                .map(|u| (names::POD_UID.to_owned(), u.to_owned()))
                .into_iter()
                .collect();
            let filter = Some(v1::PodSandboxFilter {
                label_selector,
                ..Default::default()
            });
            let answer = self
                .0
                .runtime
                .clone()
                .list_pod_sandbox(request(v1::ListPodSandboxRequest { filter }, SHORT))
                .await?;
            let mut items = answer.into_inner().items;
            items.retain(|s| s.labels.contains_key(names::POD_UID));
            Ok(items)
        })
        .await
    }

    /// All containers that kubelets made.
    pub async fn containers(&self, uid: Option<&str>) -> Result<Vec<v1::Container>, Status> {
        self.timed("list_containers", async {
            let label_selector = uid
                .map(|u| (names::POD_UID.to_owned(), u.to_owned()))
                .into_iter()
                .collect();
            let filter = Some(v1::ContainerFilter {
                label_selector,
                ..Default::default()
            });
            let answer = self
                .0
                .runtime
                .clone()
                .list_containers(request(v1::ListContainersRequest { filter }, SHORT))
                .await?;
            let mut items = answer.into_inner().containers;
            items.retain(|c| c.labels.contains_key(names::CONTAINER_NAME));
            Ok(items)
        })
        .await
    }

    /// One container; `None` if it is gone.
    pub async fn container(&self, id: &str, sandbox_id: &str) -> Result<Option<Instance>, Status> {
        self.timed("container_status", async {
            let message = v1::ContainerStatusRequest {
                container_id: id.to_owned(),
                verbose: false,
            };
            match self
                .0
                .runtime
                .clone()
                .container_status(request(message, SHORT))
                .await
            {
                Ok(answer) => Ok(answer
                    .into_inner()
                    .status
                    .as_ref()
                    .and_then(|s| Instance::from_cri(s, sandbox_id))),
                Err(status) if status.code() == Code::NotFound => Ok(None),
                Err(status) => Err(status),
            }
        })
        .await
    }

    /// Everything of one pod. Containers that had ended when `known` was seen are taken from there: an end is final.
    pub async fn observe(&self, uid: &str, known: &Observed) -> Result<Observed, Status> {
        let (sandboxes, containers) =
            tokio::try_join!(self.sandboxes(Some(uid)), self.containers(Some(uid)))?;
        let mut out = Observed::default();
        for listed in sandboxes {
            let ready = listed.state == v1::PodSandboxState::SandboxReady as i32;
            let before = known.sandboxes.iter().find(|s| s.id == listed.id);
            match before {
                // The addresses of a sandbox never change.
                Some(before) if !before.ready || ready => out.sandboxes.push(Sandbox {
                    ready,
                    ..before.clone()
                }),
                _ => out.sandboxes.extend(self.sandbox(&listed.id).await?),
            }
        }
        let asked = containers.into_iter().map(|listed| async move {
            let before = known.instances.iter().find(|i| i.id == listed.id);
            match before {
                Some(before) if before.state == crate::observed::State::Exited => Ok(Some(before.clone())),
                _ => self.container(&listed.id, &listed.pod_sandbox_id).await,
            }
        });
        for instance in futures::future::join_all(asked).await {
            out.instances.extend(instance?);
        }
        out.sort();
        Ok(out)
    }

    /// Makes a container; its id.
    pub async fn create_container(
        &self,
        sandbox: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<String, Status> {
        self.timed("create_container", async {
            let message = v1::CreateContainerRequest {
                pod_sandbox_id: sandbox.to_owned(),
                config: Some(config),
                sandbox_config: Some(sandbox_config),
            };
            Ok(self
                .0
                .runtime
                .clone()
                .create_container(request(message, SHORT))
                .await?
                .into_inner()
                .container_id)
        })
        .await
    }

    /// Starts a container.
    pub async fn start_container(&self, id: &str) -> Result<(), Status> {
        self.timed("start_container", async {
            let message = v1::StartContainerRequest {
                container_id: id.to_owned(),
            };
            self.0
                .runtime
                .clone()
                .start_container(request(message, SHORT))
                .await
                .map(drop)
        })
        .await
    }

    /// Stops a container: its stop signal, and after `grace` seconds SIGKILL. Of one that is gone, success.
    pub async fn stop_container(&self, id: &str, grace: i64) -> Result<(), Status> {
        self.timed("stop_container", async {
            let limit = SHORT + Duration::from_secs(u64::try_from(grace).unwrap_or(0));
            let message = v1::StopContainerRequest {
                container_id: id.to_owned(),
                timeout: grace,
            };
            ok_if_gone(
                self.0
                    .runtime
                    .clone()
                    .stop_container(request(message, limit))
                    .await
                    .map(drop),
            )
        })
        .await
    }

    /// Removes a container and its log. Of one that is gone, success.
    pub async fn remove_container(&self, id: &str) -> Result<(), Status> {
        self.timed("remove_container", async {
            let message = v1::RemoveContainerRequest {
                container_id: id.to_owned(),
            };
            ok_if_gone(
                self.0
                    .runtime
                    .clone()
                    .remove_container(request(message, SHORT))
                    .await
                    .map(drop),
            )
        })
        .await
    }

    /// Changes a running container's limits.
    pub async fn update_resources(&self, id: &str, linux: v1::LinuxContainerResources) -> Result<(), Status> {
        self.timed("update_container_resources", async {
            let message = v1::UpdateContainerResourcesRequest {
                container_id: id.to_owned(),
                linux: Some(linux),
                ..Default::default()
            };
            self.0
                .runtime
                .clone()
                .update_container_resources(request(message, SHORT))
                .await
                .map(drop)
        })
        .await
    }

    /// Has the runtime open a container's log file again, after it was moved away.
    pub async fn reopen_log(&self, id: &str) -> Result<(), Status> {
        self.timed("reopen_container_log", async {
            let message = v1::ReopenContainerLogRequest {
                container_id: id.to_owned(),
            };
            self.0
                .runtime
                .clone()
                .reopen_container_log(request(message, SHORT))
                .await
                .map(drop)
        })
        .await
    }

    /// Runs a command in a container to its end: exit code, standard output, standard error.
    pub async fn exec(
        &self,
        id: &str,
        cmd: Vec<String>,
        limit: Duration,
    ) -> Result<(i32, Vec<u8>, Vec<u8>), Status> {
        self.timed("exec_sync", async {
            let timeout = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
            let message = v1::ExecSyncRequest {
                container_id: id.to_owned(),
                cmd,
                timeout,
            };
            let outer = if limit.is_zero() {
                PULL
            } else {
                limit + Duration::from_secs(5)
            };
            let answer = self
                .0
                .runtime
                .clone()
                .exec_sync(request(message, outer))
                .await?
                .into_inner();
            Ok((answer.exit_code, answer.stdout, answer.stderr))
        })
        .await
    }

    /// The URL where an interactive command can be talked to.
    pub async fn exec_url(&self, message: v1::ExecRequest) -> Result<String, Status> {
        Ok(self
            .0
            .runtime
            .clone()
            .exec(request(message, SHORT))
            .await?
            .into_inner()
            .url)
    }

    /// The URL where a running container's streams are.
    pub async fn attach_url(&self, message: v1::AttachRequest) -> Result<String, Status> {
        Ok(self
            .0
            .runtime
            .clone()
            .attach(request(message, SHORT))
            .await?
            .into_inner()
            .url)
    }

    /// The URL where a pod's ports can be reached.
    pub async fn port_forward_url(&self, message: v1::PortForwardRequest) -> Result<String, Status> {
        Ok(self
            .0
            .runtime
            .clone()
            .port_forward(request(message, SHORT))
            .await?
            .into_inner()
            .url)
    }

    /// Statistics of all containers.
    pub async fn container_stats(&self) -> Result<Vec<v1::ContainerStats>, Status> {
        self.timed("list_container_stats", async {
            let message = v1::ListContainerStatsRequest { filter: None };
            Ok(self
                .0
                .runtime
                .clone()
                .list_container_stats(request(message, SHORT))
                .await?
                .into_inner()
                .stats)
        })
        .await
    }

    /// Statistics of all sandboxes.
    pub async fn sandbox_stats(&self) -> Result<Vec<v1::PodSandboxStats>, Status> {
        self.timed("list_podsandbox_stats", async {
            let message = v1::ListPodSandboxStatsRequest { filter: None };
            Ok(self
                .0
                .runtime
                .clone()
                .list_pod_sandbox_stats(request(message, SHORT))
                .await?
                .into_inner()
                .stats)
        })
        .await
    }

    /// The stream of what happens to containers and sandboxes.
    pub async fn events(&self) -> Result<tonic::Streaming<v1::ContainerEventResponse>, Status> {
        // No deadline: the stream is meant to last.
        Ok(self
            .0
            .runtime
            .clone()
            .get_container_events(v1::GetEventsRequest {})
            .await?
            .into_inner())
    }

    /// An image on this node; `None` if it is not there.
    pub async fn image(&self, image: v1::ImageSpec) -> Result<Option<v1::Image>, Status> {
        self.timed("image_status", async {
            let message = v1::ImageStatusRequest {
                image: Some(image),
                verbose: false,
            };
            Ok(self
                .0
                .images
                .clone()
                .image_status(request(message, SHORT))
                .await?
                .into_inner()
                .image)
        })
        .await
    }

    /// Fetches an image; what the runtime calls it.
    pub async fn pull(
        &self,
        image: v1::ImageSpec,
        auth: Option<v1::AuthConfig>,
        sandbox: Option<v1::PodSandboxConfig>,
    ) -> Result<String, Status> {
        self.timed("pull_image", async {
            let message = v1::PullImageRequest {
                image: Some(image),
                auth,
                sandbox_config: sandbox,
            };
            Ok(self
                .0
                .images
                .clone()
                .pull_image(request(message, PULL))
                .await?
                .into_inner()
                .image_ref)
        })
        .await
    }

    /// All images on this node.
    pub async fn images(&self) -> Result<Vec<v1::Image>, Status> {
        let message = v1::ListImagesRequest { filter: None };
        Ok(self
            .0
            .images
            .clone()
            .list_images(request(message, SHORT))
            .await?
            .into_inner()
            .images)
    }

    /// Removes an image.
    pub async fn remove_image(&self, image: v1::ImageSpec) -> Result<(), Status> {
        let message = v1::RemoveImageRequest { image: Some(image) };
        self.0
            .images
            .clone()
            .remove_image(request(message, SHORT))
            .await
            .map(drop)
    }

    /// Where images lie and how many bytes they use: (mount point, bytes used).
    pub async fn image_filesystem(&self) -> Result<Option<(String, u64)>, Status> {
        let answer = self
            .0
            .images
            .clone()
            .image_fs_info(request(v1::ImageFsInfoRequest {}, SHORT))
            .await?
            .into_inner();
        Ok(answer.image_filesystems.into_iter().next().map(|f| {
            let at = f.fs_id.map(|id| id.mountpoint).unwrap_or_default();
            (at, f.used_bytes.map_or(0, |b| b.value))
        }))
    }
}
