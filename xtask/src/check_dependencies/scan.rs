//! Looks through a crate's sources for what a library must not do.

use std::path::Path;

use anyhow::{Context, Result};

use super::Violation;
use super::source::code_only;

/// What is looked for, and why it is wrong there.
const FORBIDDEN: [(&[&str], &str); 5] = [
    (
        &["println!", "eprintln!", "print!", "eprint!", "dbg!"],
        "a library does not print: return it, or record it with tracing",
    ),
    (&["anyhow::", "anyhow!"], "a library has typed errors, not anyhow's"),
    (&["process::exit", "process::abort"], "a library does not end the process: return an error"),
    (
        &["env::var", "env::vars", "env::var_os", "env::args", "env::set_var", "env::current_dir"],
        "a library does not read the environment: take a setting",
    ),
    (
        &[
            "burn::backend::",
            "burn_flex::",
            "burn_wgpu::",
            "burn_cuda::",
            "burn_rocm::",
            "Device::flex(",
            "Device::vulkan(",
            "Device::webgpu(",
            "Device::wgpu(",
            "Device::metal(",
            "Device::cuda(",
            "Device::rocm(",
        ],
        "a library names no concrete backend: take a Device",
    ),
];

/// Where a concrete backend is named on purpose: the kernels that take the place of Burn's on the
/// host device have to know that device and its tensors.
const NAMES_THE_HOST_BACKEND: &str = "crates/pnp-model/src/ops";

/// Adds what is wrong in the Rust files below `folder`, in paths relative to `root`.
pub(super) fn folder(folder: &Path, root: &Path, violations: &mut Vec<Violation>) -> Result<()> {
    let context = || format!("cannot read '{}'", folder.display());
    for entry in std::fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        if path.is_dir() {
            self::folder(&path, root, violations)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read '{}'", path.display()))?;
            let file = path.strip_prefix(root).unwrap_or(&path);
            for (line, what) in violations_in(&text, file) {
                violations.push(Violation { file: file.to_owned(), line, what });
            }
        }
    }
    Ok(())
}

/// The lines, from 1, that break the rule, and how.
fn violations_in(text: &str, file: &Path) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(code_only(text).lines()) {
        for (patterns, why) in FORBIDDEN {
            let backend = why.contains("backend");
            if backend && file.starts_with(NAMES_THE_HOST_BACKEND) {
                continue;
            }
            if let Some(pattern) = patterns.iter().find(|pattern| has_word(line, pattern)) {
                found.push((number, format!("'{pattern}': {why}")));
            }
        }
    }
    found
}

/// Whether `pattern` stands in `line` and is not the end of a longer name.
fn has_word(line: &str, pattern: &str) -> bool {
    line.match_indices(pattern).any(|(at, _)| {
        !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let file = Path::new("crates/pnp-train/src/step.rs");
        violations_in(text, file).into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn each_kind_is_found() {
        for line in [
            "println!(\"x\");",
            "eprintln!();",
            "use anyhow::Result;",
            "std::process::exit(1);",
            "let x = std::env::var(\"HOME\");",
            "use burn::backend::Flex;",
            "let device = Device::vulkan(0);",
        ] {
            assert_eq!(lines(&format!("fn f() {{\n    {line}\n}}\n")), [2], "{line}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_not() {
        for line in [
            "// println!()",
            "/// Like `std::env::var`.",
            "let text = \"println!\";",
            "write_println!();",
            "const VERSION: &str = env!(\"CARGO_PKG_VERSION\");",
        ] {
            assert_eq!(lines(line), [] as [usize; 0], "{line}");
        }
    }

    #[test]
    fn tests_may_do_it() {
        let text = "fn f() {}\n#[cfg(test)]\nmod tests {\n    fn g() { println!(); }\n}\n\
                    fn h() { println!(); }\n";
        assert_eq!(lines(text), [6]);
    }

    #[test]
    fn the_host_kernels_may_name_their_backend_and_nothing_more() {
        let file = Path::new("crates/pnp-model/src/ops/host/extension.rs");
        assert!(violations_in("use burn::backend::Flex;", file).is_empty());
        assert_eq!(violations_in("println!();", file).len(), 1);
    }
}
