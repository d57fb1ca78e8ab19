//! `marina kubeconfig`.

use super::{Common, Cx, checked};
use crate::kubeconfig;
use crate::output::{self, Format};
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

#[derive(Args)]
pub(super) struct Command {
    cluster: String,
    /// Merge into your kubeconfig and make it the current context; without it, print to standard output.
    #[arg(long)]
    merge: bool,
    /// Put a short-lived client certificate into the file, for machines without marina (CI).
    #[arg(long)]
    embed: bool,
    /// How long an embedded credential lives: 30m, 1h, at most 24h.
    #[arg(long, requires = "embed", default_value = "1h")]
    ttl: String,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(command: Command) -> Result<()> {
    let cx = Cx::new(&command.common)?;
    let cluster = checked("cluster", &command.cluster)?;
    let mut path = cx.path(&format!("clusters/{cluster}/kubeconfig"));
    if command.embed {
        path.push_str(&format!("?embed=true&ttlSeconds={}", seconds(&command.ttl)?));
    }
    let mut config: Value = cx.service.get(&path).await?;
    use_this_program(&mut config);
    if command.merge {
        let file = kubeconfig::path()?;
        let context = kubeconfig::merge_into(&file, &config)?;
        if command.common.output == Format::Json {
            return output::json(&serde_json::json!({ "file": file, "context": context }));
        }
        eprintln!(
            "{} now has context {context}, and it is the current one.",
            file.display()
        );
        return Ok(());
    }
    if command.common.output == Format::Json {
        return output::json(&config);
    }
    print!("{}", serde_saphyr::to_string(&config)?);
    Ok(())
}

/// Names this very program as the plugin, so that kubectl finds it without a PATH, and the configuration it was run
/// with, if that is not the default one.
fn use_this_program(config: &mut Value) {
    let Ok(me) = std::env::current_exe() else { return };
    for user in config["users"].as_array_mut().into_iter().flatten() {
        let exec = &mut user["user"]["exec"];
        if !exec.is_object() {
            // Indexing made a null member; a user with an embedded credential has no plugin.
            if let Some(user) = user["user"].as_object_mut() {
                user.remove("exec");
            }
            continue;
        }
        exec["command"] = me.to_string_lossy().into_owned().into();
        if let Ok(place) = std::env::var("MARINA_CONFIG") {
            exec["env"] = serde_json::json!([{ "name": "MARINA_CONFIG", "value": place }]);
        }
    }
}

fn seconds(text: &str) -> Result<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number
        .parse()
        .with_context(|| format!("{text:?} is no duration such as 30m or 1h"))?;
    let factor = match unit {
        "s" | "" => 1,
        "m" => 60,
        "h" => 3600,
        _ => bail!("{text:?} is no duration such as 30m or 1h"),
    };
    number.checked_mul(factor).context("that is too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        assert_eq!(seconds("1h").unwrap(), 3600);
        assert_eq!(seconds("30m").unwrap(), 1800);
        assert_eq!(seconds("90").unwrap(), 90);
        for bad in ["", "h", "1d", "1h30m", "-1s", "99999999999999999999h"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
