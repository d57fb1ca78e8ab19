//! `marinad down`: stops what `dev` started on this machine. Data stays; the next `dev` brings everything back.

use crate::clouds::LocalOptions;
use crate::state_dir::StateDirOption;
use anyhow::{Context, Result, bail};
use clap::Args;
use cloud_api::{Cloud, CloudError, Instances, Tags};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// `marinad down`.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    state_dir: StateDirOption,
    #[command(flatten)]
    local: LocalOptions,
}

/// How long the process may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long machines may take to go.
const MACHINES: Duration = Duration::from_secs(60);

/// Stops process, machines and network.
pub(crate) async fn run(options: Options) -> Result<()> {
    let state = options.state_dir.open()?;
    let _lock = match state.lock()? {
        Ok(lock) => lock,
        Err(0) => bail!(
            "another marinad has {}, and does not say which process it is",
            state.path().display()
        ),
        Err(pid) => {
            let pid = Pid::from_raw(i32::try_from(pid).context("the process id makes no sense")?);
            eprintln!("stopping process {pid}");
            kill(pid, Signal::SIGTERM).context("cannot stop it")?;
            let deadline = Instant::now() + PATIENCE;
            loop {
                match state.lock()? {
                    Ok(lock) => break lock,
                    Err(_) if Instant::now() > deadline => {
                        eprintln!("it does not end by itself; killing it");
                        kill(pid, Signal::SIGKILL).context("cannot kill it")?;
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        }
    };
    match options.local.open(&state) {
        Ok(local) => {
            destroy_machines(&local).await?;
            local
                .remove_network()
                .await
                .context("cannot remove the machines' network")?;
        }
        Err(CloudError::Denied(_)) => {}
        Err(error) => return Err(error).context("cannot look for machines"),
    }
    println!(
        "Marina is down. Its data stays in {}; `make up` brings it back.",
        state.path().display()
    );
    Ok(())
}

async fn destroy_machines(local: &cloud_local::LocalCloud) -> Result<()> {
    let deadline = Instant::now() + MACHINES;
    loop {
        let machines = Instances::list(local, &Tags::new())
            .await
            .context("cannot list machines")?;
        if machines.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "{} machines of cloud {} do not go away",
                machines.len(),
                local.name()
            );
        }
        for machine in machines {
            match local.terminate(&machine.id).await {
                Ok(()) | Err(CloudError::NotFound(_)) => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot destroy machine {}", machine.id));
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
