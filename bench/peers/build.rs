//! Finds the OKX message that `nautilus-okx` ships for its own tests: in the package as cargo has it. Nothing of it is
//! kept here.

use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "nautilus-okx";
const FIXTURE: &str = "test_data/ws_books_update.json";

fn main() {
    println!("cargo:rerun-if-changed=Cargo.lock");
    let fixture = fixture().unwrap_or_else(|error| panic!("cannot find {FIXTURE} of {PACKAGE}: {error}"));
    println!("cargo:rustc-env=OKX_FIXTURE={}", fixture.display());
}

fn fixture() -> Result<PathBuf, String> {
    let variable = |name: &str| std::env::var(name).map_err(|error| format!("{name}: {error}"));
    let manifest = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("Cargo.toml");
    let output = Command::new(variable("CARGO")?)
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform"])
        .arg(variable("TARGET")?)
        .arg("--manifest-path")
        .arg(&manifest)
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    let package = packages.iter().find(|package| package["name"] == PACKAGE).ok_or("the package is not there")?;
    let manifest = package["manifest_path"].as_str().ok_or("the package is nowhere")?;
    let fixture = Path::new(manifest).with_file_name(FIXTURE);
    if fixture.is_file() { Ok(fixture) } else { Err(format!("{} is no file", fixture.display())) }
}
