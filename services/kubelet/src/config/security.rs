//! Security contexts: a container's settings over its pod's, as the runtime wants them.

use super::pause_profile;
use crate::k8s::{AppArmorProfile, Container, Pod, SeccompProfile};
use crate::names::Paths;
use cri::v1::{
    Capability, Int64Value, LinuxContainerSecurityContext, LinuxSandboxSecurityContext, NamespaceMode,
    NamespaceOption, SeLinuxOption, SecurityProfile, SupplementalGroupsPolicy, security_profile::ProfileType,
};
use std::path::Path;

/// Paths hidden from containers (the runtime specification's customary list, as Docker and upstream have it).
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Paths that containers may read only.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Who an image says it runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageUser {
    /// A numeric user.
    pub uid: Option<i64>,
    /// A user by name, if it is not numeric.
    pub name: String,
}

/// Why a container may not run as it would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecurityError {
    /// `runAsUser: 0` with `runAsNonRoot`.
    #[error("container's runAsUser breaks non-root policy")]
    RunsAsRoot,
    /// The image's user is root.
    #[error("container has runAsNonRoot and image will run as root")]
    ImageRunsAsRoot,
    /// The image names a user that cannot be checked.
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({0}), cannot verify user is non-root"
    )]
    Unverifiable(String),
    /// `hostUsers: false`.
    #[error("pods with a user namespace of their own (hostUsers: false) are not supported by this kubelet")]
    UserNamespace,
    /// A local seccomp profile that leaves the profile directory.
    #[error("localhost profile {0:?} must be a relative path inside the profile directory")]
    Profile(String),
}

/// Namespaces of a pod's sandbox and of its ordinary containers.
pub fn namespaces(pod: &Pod) -> NamespaceOption {
    let spec = pod.spec.as_ref();
    let is = |f: fn(&crate::k8s::PodSpec) -> Option<bool>| spec.and_then(f).unwrap_or(false);
    let mode = |node: bool, otherwise: NamespaceMode| if node { NamespaceMode::Node } else { otherwise };
    let pid = if is(|s| s.share_process_namespace) {
        NamespaceMode::Pod
    } else {
        NamespaceMode::Container
    };
    NamespaceOption {
        network: mode(is(|s| s.host_network), NamespaceMode::Pod) as i32,
        pid: mode(is(|s| s.host_pid), pid) as i32,
        ipc: mode(is(|s| s.host_ipc), NamespaceMode::Pod) as i32,
        target_id: String::new(),
        userns_options: None,
    }
}

fn int(value: Option<i64>) -> Option<Int64Value> {
    value.map(|value| Int64Value { value })
}

fn seccomp(profile: Option<&SeccompProfile>, dir: &Path) -> Result<SecurityProfile, SecurityError> {
    let simple = |t: ProfileType| SecurityProfile {
        profile_type: t as i32,
        localhost_ref: String::new(),
    };
    Ok(match profile.map(|p| p.type_.as_str()) {
        Some("RuntimeDefault") => simple(ProfileType::RuntimeDefault),
        Some("Localhost") => {
            let name = profile
                .and_then(|p| p.localhost_profile.clone())
                .unwrap_or_default();
            let inside = !name.is_empty()
                && Path::new(&name)
                    .components()
                    .all(|c| matches!(c, std::path::Component::Normal(_)));
            if !inside {
                return Err(SecurityError::Profile(name));
            }
            let path = dir.join(name).to_string_lossy().into_owned();
            SecurityProfile {
                profile_type: ProfileType::Localhost as i32,
                localhost_ref: path,
            }
        }
        _ => simple(ProfileType::Unconfined),
    })
}

fn apparmor(profile: Option<&AppArmorProfile>) -> Option<SecurityProfile> {
    let profile = profile?;
    let kind = match profile.type_.as_str() {
        "RuntimeDefault" => ProfileType::RuntimeDefault,
        "Localhost" => ProfileType::Localhost,
        _ => ProfileType::Unconfined,
    };
    let localhost_ref = profile.localhost_profile.clone().unwrap_or_default();
    Some(SecurityProfile {
        profile_type: kind as i32,
        localhost_ref,
    })
}

fn selinux(options: Option<&crate::k8s::SELinuxOptions>) -> Option<SeLinuxOption> {
    options.map(|o| SeLinuxOption {
        user: o.user.clone().unwrap_or_default(),
        role: o.role.clone().unwrap_or_default(),
        r#type: o.type_.clone().unwrap_or_default(),
        level: o.level.clone().unwrap_or_default(),
    })
}

/// Additional groups of every process of the pod: `supplementalGroups` and `fsGroup`.
fn groups(pod: &Pod) -> (Vec<i64>, i32) {
    let context = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    let mut groups: Vec<i64> = context
        .and_then(|c| c.supplemental_groups.clone())
        .unwrap_or_default();
    groups.extend(context.and_then(|c| c.fs_group));
    let policy = match context.and_then(|c| c.supplemental_groups_policy.as_deref()) {
        Some("Strict") => SupplementalGroupsPolicy::Strict,
        _ => SupplementalGroupsPolicy::Merge,
    };
    (groups, policy as i32)
}

/// The sandbox's context. It is privileged if any container is, because the runtime demands it.
pub fn sandbox(pod: &Pod, paths: &Paths) -> Result<LinuxSandboxSecurityContext, SecurityError> {
    let spec = pod.spec.as_ref();
    if spec.and_then(|s| s.host_users) == Some(false) {
        return Err(SecurityError::UserNamespace);
    }
    let context = spec.and_then(|s| s.security_context.as_ref());
    let (supplemental_groups, supplemental_groups_policy) = groups(pod);
    let privileged = spec
        .into_iter()
        .flat_map(crate::resources::all_containers)
        .any(is_privileged);
    Ok(LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod)),
        selinux_options: selinux(context.and_then(|c| c.se_linux_options.as_ref())),
        run_as_user: int(context.and_then(|c| c.run_as_user)),
        // A group alone is refused by the runtime.
        run_as_group: int(context.and_then(|c| c.run_as_user.and(c.run_as_group))),
        supplemental_groups,
        supplemental_groups_policy,
        privileged,
        seccomp: Some(pause_seccomp(paths)),
        apparmor: apparmor(context.and_then(|c| c.app_armor_profile.as_ref())),
        ..Default::default()
    })
}

/// The filter of the process that holds the namespaces. It is none of the pod's containers, so their profiles are not
/// its own.
fn pause_seccomp(paths: &Paths) -> SecurityProfile {
    let (profile_type, localhost_ref) = match pause_profile::architecture() {
        Some(_) => (
            ProfileType::Localhost,
            pause_profile::path(paths).to_string_lossy().into_owned(),
        ),
        None => (ProfileType::RuntimeDefault, String::new()),
    };
    SecurityProfile {
        profile_type: profile_type as i32,
        localhost_ref,
    }
}

/// Whether a container asks for all privileges.
pub fn is_privileged(container: &Container) -> bool {
    container
        .security_context
        .as_ref()
        .and_then(|c| c.privileged)
        .unwrap_or(false)
}

/// The effective user of a container: its own setting, its pod's, then none (the image decides).
pub fn run_as_user(pod: &Pod, container: &Container) -> Option<i64> {
    let own = container.security_context.as_ref().and_then(|c| c.run_as_user);
    own.or_else(|| {
        pod.spec
            .as_ref()
            .and_then(|s| s.security_context.as_ref())
            .and_then(|c| c.run_as_user)
    })
}

/// The context of a container. `target` is the runtime's id of the container whose processes a debug container sees.
pub fn container(
    pod: &Pod,
    container: &Container,
    image: &ImageUser,
    target: Option<&str>,
    profiles: &Path,
) -> Result<LinuxContainerSecurityContext, SecurityError> {
    let of_pod = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    let own = container.security_context.as_ref();
    let user = run_as_user(pod, container);
    let non_root = own
        .and_then(|c| c.run_as_non_root)
        .or_else(|| of_pod.and_then(|c| c.run_as_non_root));
    if non_root == Some(true) {
        match (user, image.uid, image.name.as_str()) {
            (Some(0), _, _) => return Err(SecurityError::RunsAsRoot),
            (Some(_), _, _) => {}
            (None, Some(0), _) | (None, None, "") => return Err(SecurityError::ImageRunsAsRoot),
            (None, Some(_), _) => {}
            (None, None, name) => return Err(SecurityError::Unverifiable(name.to_owned())),
        }
    }
    let privileged = is_privileged(container);
    let (supplemental_groups, supplemental_groups_policy) = groups(pod);
    let mut namespace_options = namespaces(pod);
    if let Some(id) = target {
        namespace_options.pid = NamespaceMode::Target as i32;
        id.clone_into(&mut namespace_options.target_id);
    }
    let unmasked = privileged || own.and_then(|c| c.proc_mount.as_deref()) == Some("Unmasked");
    let list = |paths: &[&str]| {
        if unmasked {
            Vec::new()
        } else {
            paths.iter().map(|p| (*p).to_owned()).collect()
        }
    };
    let profile = own
        .and_then(|c| c.seccomp_profile.as_ref())
        .or_else(|| of_pod.and_then(|c| c.seccomp_profile.as_ref()));
    let seccomp = if privileged {
        seccomp(None, profiles)?
    } else {
        seccomp(profile, profiles)?
    };
    // The image's user is sent explicitly, so that what was checked is what runs.
    let run_as_user = user.or(image.uid);
    let run_as_username = if run_as_user.is_none() {
        image.name.clone()
    } else {
        String::new()
    };
    Ok(LinuxContainerSecurityContext {
        capabilities: own.and_then(|c| c.capabilities.as_ref()).map(|c| Capability {
            add_capabilities: c.add.clone().unwrap_or_default(),
            drop_capabilities: c.drop.clone().unwrap_or_default(),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged,
        namespace_options: Some(namespace_options),
        selinux_options: selinux(
            own.and_then(|c| c.se_linux_options.as_ref())
                .or_else(|| of_pod.and_then(|c| c.se_linux_options.as_ref())),
        ),
        run_as_user: int(run_as_user),
        run_as_group: int(own
            .and_then(|c| c.run_as_group)
            .or_else(|| of_pod.and_then(|c| c.run_as_group))),
        run_as_username,
        readonly_rootfs: own.and_then(|c| c.read_only_root_filesystem).unwrap_or(false),
        supplemental_groups,
        supplemental_groups_policy,
        no_new_privs: own.and_then(|c| c.allow_privilege_escalation) == Some(false),
        masked_paths: list(&MASKED),
        readonly_paths: list(&READ_ONLY),
        seccomp: Some(seccomp),
        apparmor: apparmor(
            own.and_then(|c| c.app_armor_profile.as_ref())
                .or_else(|| of_pod.and_then(|c| c.app_armor_profile.as_ref())),
        ),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(
        pod_context: &str,
        own: &str,
        image: &ImageUser,
    ) -> Result<LinuxContainerSecurityContext, SecurityError> {
        let pod: Pod = serde_json::from_str(&format!(
            r#"{{"spec":{{"securityContext":{pod_context},"containers":[{{"name":"c","securityContext":{own}}}]}}}}"#
        ))
        .unwrap();
        container(
            &pod,
            &pod.spec.as_ref().unwrap().containers[0],
            image,
            None,
            Path::new("/p"),
        )
    }

    #[test]
    fn a_container_that_must_not_be_root_is_checked_against_its_image() {
        let root = ImageUser {
            uid: Some(0),
            name: String::new(),
        };
        let named = ImageUser {
            uid: None,
            name: "web".into(),
        };
        let non_root = r#"{"runAsNonRoot":true}"#;
        assert_eq!(of(non_root, "{}", &root), Err(SecurityError::ImageRunsAsRoot));
        assert_eq!(
            of(non_root, "{}", &ImageUser::default()),
            Err(SecurityError::ImageRunsAsRoot)
        );
        assert_eq!(
            of(non_root, "{}", &named),
            Err(SecurityError::Unverifiable("web".into()))
        );
        assert_eq!(
            of(non_root, r#"{"runAsUser":0}"#, &named),
            Err(SecurityError::RunsAsRoot)
        );
        assert_eq!(
            of(non_root, r#"{"runAsUser":7}"#, &root)
                .unwrap()
                .run_as_user
                .unwrap()
                .value,
            7
        );
        assert!(of(non_root, r#"{"runAsNonRoot":false}"#, &root).is_ok());
        assert_eq!(of("{}", "{}", &named).unwrap().run_as_username, "web");
    }

    #[test]
    fn a_containers_settings_win_over_its_pods() {
        let c = of(
            r#"{"runAsUser":1,"fsGroup":5,"supplementalGroups":[6],"seccompProfile":{"type":"RuntimeDefault"}}"#,
            r#"{"runAsUser":2,"allowPrivilegeEscalation":false,"readOnlyRootFilesystem":true,"procMount":"Unmasked",
                "seccompProfile":{"type":"Localhost","localhostProfile":"a/b.json"},"capabilities":{"drop":["ALL"]}}"#,
            &ImageUser::default(),
        )
        .unwrap();
        assert_eq!(
            (c.run_as_user.unwrap().value, c.supplemental_groups),
            (2, vec![6, 5])
        );
        assert!(c.no_new_privs && c.readonly_rootfs && c.masked_paths.is_empty());
        assert_eq!(c.seccomp.unwrap().localhost_ref, "/p/a/b.json");
        assert_eq!(c.capabilities.unwrap().drop_capabilities, ["ALL"]);
        let escape = r#"{"seccompProfile":{"type":"Localhost","localhostProfile":"../x"}}"#;
        assert_eq!(
            of("{}", escape, &ImageUser::default()),
            Err(SecurityError::Profile("../x".into()))
        );
        let plain = of("{}", "{}", &ImageUser::default()).unwrap();
        assert!(plain.masked_paths.contains(&"/proc/kcore".to_owned()) && plain.readonly_paths.len() == 5);
        assert_eq!(
            plain.seccomp.unwrap().profile_type,
            ProfileType::Unconfined as i32
        );
    }
}
