//! The old code's command line: its flags spelled with `_`, and those that did nothing.

use std::ffi::OsString;

use crate::failure::Failure;

/// Flags that the old code declared and never read, by their beginning.
const UNREAD: [&str; 15] = [
    "--miner-",
    "--data-batchmatch-",
    "--data-d2-",
    "--data-gc-",
    "--data-mb-",
    "--data-storage-no-update",
    "--data-sampler-lowproj-dim",
    "--data-sim-measure",
    "--data-idx-full-prec",
    "--margin",
    "--loss-margin",
    "--no-train-metrics",
    "--gpu",
    "--data-ssl-",
    "--internal-split",
];

/// Flags of the old code that would send a run's records to a service.
const ONLINE: [&str; 4] = ["--log-online", "--wandb-key", "--project", "--group"];

/// Rewrites `--some_flag` to `--some-flag` and refuses the old flags that never did anything.
pub(crate) fn normalise(args: impl Iterator<Item = OsString>) -> Result<Vec<OsString>, Failure> {
    let mut out = Vec::new();
    let mut flags = true;
    for arg in args {
        flags &= arg != "--";
        let text = arg.to_str().filter(|text| flags && text.starts_with("--"));
        out.push(match text {
            Some(text) => OsString::from(flag(text)?),
            None => arg,
        });
    }
    Ok(out)
}

fn flag(text: &str) -> Result<String, Failure> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let name = name.replace('_', "-");
    let is = |flag: &str| name == flag || (flag.ends_with('-') && name.starts_with(flag));
    if UNREAD.into_iter().any(is) {
        return Err(Failure::Usage(format!(
            "{name} was read by nothing in the old code and is not accepted: leave it out"
        )));
    }
    if ONLINE.contains(&name.as_str()) {
        return Err(Failure::Usage(format!(
            "{name} is not there: records stay in the run folder (events.jsonl, csv/, plots/) and \
             nothing is sent anywhere; leave it out"
        )));
    }
    if name == "--multi-gpu" {
        return Err(Failure::Usage(
            "--multi-gpu is not there: a run uses one device; leave it out, and use --chunk for \
             batches that are too large for it"
                .into(),
        ));
    }
    Ok(value.map_or(name.clone(), |value| format!("{name}={value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(args: &[&str]) -> Result<Vec<String>, String> {
        match normalise(args.iter().map(OsString::from)) {
            Ok(args) => Ok(args.into_iter().map(|a| a.into_string().unwrap()).collect()),
            Err(Failure::Usage(message)) => Err(message),
            Err(other) => panic!("a wrong flag is a wrong request, not {other:?}"),
        }
    }

    #[test]
    fn underscores_in_flags_become_hyphens_and_values_stay() {
        let args = ["pnp", "train", "--embed_dim", "5_12", "--save_path=a_b", "--", "--not_a_flag"];
        let expected =
            ["pnp", "train", "--embed-dim", "5_12", "--save-path=a_b", "--", "--not_a_flag"];
        assert_eq!(normalised(&args).unwrap(), expected);
    }

    #[test]
    fn flags_that_nothing_read_are_refused_by_name() {
        for flag in ["--miner_distance_lower_cutoff", "--data_gc_softened", "--gpu", "--margin"] {
            let message = normalised(&["pnp", "train", flag, "1"]).unwrap_err();
            assert!(message.contains("read by nothing"), "{message}");
        }
    }

    #[test]
    fn flags_that_would_use_the_network_are_refused() {
        assert!(normalised(&["--wandb_key=1"]).unwrap_err().contains("nothing is sent"));
    }
}
