//! `import-api`: writes `services/api/table/kubernetes.txt` again.
//!
//! The reading is done by scripts beside this crate, since the sources come by pip and by go and are read with regular
//! expressions; here the table they wrote is read back, so that a table that the program cannot read is never left
//! without a word.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// Runs the scripts, then reads the table for every minor version.
pub(crate) fn run() -> anyhow::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = here.join("../../services/api/table/kubernetes.txt");
    let status = Command::new("python3")
        .arg(here.join("import/import_api.py"))
        .arg(&table)
        .status()
        .context("python3 is needed to import the API")?;
    if !status.success() {
        bail!("the import failed");
    }
    let text: &'static str = Box::leak(std::fs::read_to_string(&table)?.into_boxed_str());
    for minor in api::table::minors(text).context("the table names no minor versions")? {
        let catalog = api::table::read(text, minor)?;
        println!(
            "1.{minor}: {} types, {} resources",
            catalog.types.len(),
            catalog.resources.len()
        );
    }
    Ok(())
}
