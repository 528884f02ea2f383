//! The dependency rule: which crate may use which, and what only the program may do.

mod scan;
mod source;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Each crate, and those of ours that it may depend on.
const MAY_USE: [(&str, &[&str]); 8] = [
    ("pnp-ranking", &[]),
    ("pnp-ranking-burn", &["pnp-ranking"]),
    ("pnp-data", &[]),
    ("pnp-run", &["pnp-ranking"]),
    ("pnp-model", &[]),
    ("pnp-train", &["pnp-ranking", "pnp-data", "pnp-model", "pnp-run"]),
    ("pnp", &["pnp-ranking", "pnp-data", "pnp-model", "pnp-run", "pnp-train"]),
    ("xtask", &["pnp-ranking", "pnp-data", "pnp-model", "pnp-run", "pnp-train"]),
];

/// The crates that work without a network, and so without Burn.
const WITHOUT_BURN: [&str; 3] = ["pnp-ranking", "pnp-data", "pnp-run"];

/// The crates that are programs: they may print, end the process and read the environment.
pub(crate) const PROGRAMS: [&str; 2] = ["pnp", "xtask"];

/// A breach of the rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    file: PathBuf,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

/// Checks the workspace at `root` and prints what breaks the rule; `true` where nothing does.
pub(crate) fn run(root: &Path) -> Result<bool> {
    let mut violations = check(&metadata(root)?, root)?;
    violations.sort();
    for violation in &violations {
        eprintln!("{violation}");
    }
    match violations.len() {
        0 => println!("the dependency rule holds"),
        count => eprintln!("the dependency rule is broken in {count} places"),
    }
    Ok(violations.is_empty())
}

fn metadata(root: &Path) -> Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo metadata failed: {complaint}");
    serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")
}

fn check(metadata: &Value, root: &Path) -> Result<Vec<Violation>> {
    let packages = metadata["packages"].as_array().context("no packages in cargo metadata")?;
    let mut violations = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("a package without a name")?;
        let manifest = package["manifest_path"].as_str().context("a package without a path")?;
        let manifest = Path::new(manifest);
        let file = manifest.strip_prefix(root).unwrap_or(manifest).to_owned();
        let text = std::fs::read_to_string(manifest)
            .with_context(|| format!("cannot read '{}'", manifest.display()))?;
        let lines = dependency_lines(&text);
        for (what, dependency) in check_dependencies(name, package) {
            let line = dependency.and_then(|dependency| lines.get(dependency).copied());
            violations.push(Violation { file: file.clone(), line: line.unwrap_or(1), what });
        }
        if !PROGRAMS.contains(&name)
            && let Some(folder) = manifest.parent()
        {
            scan::folder(&folder.join("src"), root, &mut violations)?;
        }
    }
    Ok(violations)
}

/// What is wrong with a package's dependencies, and the dependency that is to blame.
fn check_dependencies<'a>(name: &str, package: &'a Value) -> Vec<(String, Option<&'a str>)> {
    let Some((_, may_use)) = MAY_USE.iter().find(|(known, _)| *known == name) else {
        let what = format!("the crate {name} is not in the dependency rule: add it to MAY_USE");
        return vec![(what, None)];
    };
    let mut found = Vec::new();
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let Some(used) = dependency["name"].as_str() else { continue };
        // Tests and build scripts are not shipped.
        if dependency["kind"].as_str().is_some() {
            continue;
        }
        let ours = MAY_USE.iter().any(|(known, _)| *known == used);
        let is_burn = used == "burn" || used.starts_with("burn-") || used.starts_with("cubecl");
        let why = if ours && !may_use.contains(&used) {
            format!("{name} must not depend on {used}")
        } else if is_burn && WITHOUT_BURN.contains(&name) {
            format!("{name} must not depend on Burn ({used})")
        } else if used == "anyhow" && !PROGRAMS.contains(&name) {
            format!("{name} must not depend on anyhow: a library has typed errors")
        } else {
            continue;
        };
        found.push((why, Some(used)));
    }
    found
}

/// The line of each key in a manifest, from 1.
fn dependency_lines(manifest: &str) -> BTreeMap<&str, usize> {
    let key = |line: &'_ str| line.find(['.', ' ', '=']).filter(|&end| end > 0);
    let lines = (1..).zip(manifest.lines());
    lines.filter_map(|(number, line)| Some((&line[..key(line)?], number))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What the rule says to a crate `name` with one dependency.
    fn verdict(name: &str, dependency: &str, kind: Option<&str>) -> Vec<String> {
        let package = json!({"dependencies": [{"name": dependency, "kind": kind}]});
        check_dependencies(name, &package).into_iter().map(|(what, _)| what).collect()
    }

    #[test]
    fn crates_depend_only_downwards() {
        assert!(verdict("pnp-train", "pnp-data", None).is_empty());
        assert_eq!(
            verdict("pnp-data", "pnp-ranking", None),
            ["pnp-data must not depend on pnp-ranking"]
        );
        assert_eq!(verdict("pnp-model", "pnp-train", None).len(), 1);
        assert!(verdict("pnp-data", "pnp-ranking", Some("dev")).is_empty());
    }

    #[test]
    fn burn_and_anyhow_stay_where_they_belong() {
        assert!(verdict("pnp-model", "burn", None).is_empty());
        assert_eq!(verdict("pnp-data", "burn", None).len(), 1);
        assert_eq!(verdict("pnp-run", "burn-flex", None).len(), 1);
        assert!(verdict("pnp", "anyhow", None).is_empty());
        assert_eq!(verdict("pnp-run", "anyhow", None).len(), 1);
    }

    #[test]
    fn an_unknown_crate_is_noticed() {
        assert!(verdict("pnp-new", "serde", None)[0].contains("add it to MAY_USE"));
    }

    #[test]
    fn a_violation_names_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("pnp-data/src/inner")).unwrap();
        let manifest = root.join("pnp-data/Cargo.toml");
        std::fs::write(
            &manifest,
            "[package]\n[dependencies]\ncsv = \"1\"\nburn.workspace = true\n",
        )
        .unwrap();
        std::fs::write(root.join("pnp-data/src/inner/a.rs"), "fn f() {\n    println!();\n}\n")
            .unwrap();
        let metadata = json!({"packages": [{
            "name": "pnp-data",
            "manifest_path": manifest,
            "dependencies": [{"name": "csv", "kind": null}, {"name": "burn", "kind": null}],
        }]});
        let lines: Vec<_> =
            check(&metadata, root).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("pnp-data/Cargo.toml:4: "), "{lines:?}");
        assert!(lines[1].starts_with("pnp-data/src/inner/a.rs:2: "), "{lines:?}");
    }
}
