//! `pnp weights`, with a hub of its own on this machine where it needs one.

mod common;

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use common::{json, pnp, root, stderr, stdout, train, write_data};
use sha2::{Digest, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn mobilenet() -> PathBuf {
    root().join("data/weights/mobilenet_v2_imagenet_f16.safetensors")
}

fn weights(arguments: &[&str]) -> Command {
    let mut command = pnp();
    command.arg("weights").args(arguments);
    command
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

#[test]
fn inspect_says_what_a_file_holds_and_fits() {
    let path = mobilenet();
    let output = run(weights(&["inspect", path.to_str().unwrap()]).arg("--json"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let answer = json(&output);
    assert_eq!(answer["format"], "safetensors");
    let best = &answer["fits"][0];
    assert_eq!(best["backbone"], "mobilenet_v2");
    assert_eq!(best["matched"], best["wanted"]);
    assert_eq!(best["missing"], serde_json::json!([]));
    let tensors = answer["tensors"].as_array().unwrap();
    let first = tensors.iter().find(|t| t["key"] == "features.0.0.weight").unwrap();
    assert_eq!(first["type"], "f16");
    assert_eq!(first["shape"], serde_json::json!([32, 3, 3, 3]));
    assert!(answer["checkpoint"].is_null());

    let output = run(&mut weights(&["inspect", path.to_str().unwrap()]));
    let text = stdout(&output);
    assert!(text.contains("fits        mobilenet_v2"), "{text}");
    assert!(text.contains("features.0.0.weight"), "{text}");
}

#[test]
fn inspect_knows_a_checkpoint_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let output = run(train(folder.path(), "a").args(["--n-epochs", "1"]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let file = folder.path().join("runs/manifest/a/checkpoints/last/model.safetensors");
    let answer = json(&run(weights(&["inspect", "--json"]).arg(file)));
    assert_eq!(answer["checkpoint"]["backbone"], "mobilenet_v2");
    assert_eq!(answer["checkpoint"]["embed_dim"], 16);
    assert_eq!(answer["fits"][0]["unexpected"], serde_json::json!([]));
}

#[test]
fn inspect_finds_what_is_nested_and_beside() {
    let file = root().join("golden/weights/training.pth.tar");
    let output = run(weights(&["inspect"]).arg(&file));
    let text = stdout(&output);
    assert!(text.contains("nested in   model_state_dict, module"), "{text}");
    assert!(text.contains("beside them"), "{text}");
    assert!(text.contains("fits        no backbone"), "{text}");
}

#[test]
fn inspect_refuses_a_missing_file_with_2_and_a_broken_one_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(weights(&["inspect", "no-such.pth"]).current_dir(folder.path()));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no-such.pth"));
    fs::write(folder.path().join("broken.pth"), "hello").unwrap();
    let output = run(weights(&["inspect", "broken.pth"]).current_dir(folder.path()));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("'broken.pth' is not a usable weight file"));
}

#[test]
fn weights_that_do_not_fit_are_refused_unless_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let part = folder.path().join("part.safetensors");
    let header = r#"{"bn1.bias":{"dtype":"F32","shape":[64],"data_offsets":[0,256]},
        "strange":{"dtype":"F32","shape":[1],"data_offsets":[256,260]}}"#;
    let length = (header.len() as u64).to_le_bytes();
    fs::write(&part, [&length[..], header.as_bytes(), &[0; 260]].concat()).unwrap();
    let with = |more: &[&str]| {
        let mut command = train(folder.path(), "a");
        command.args(["--arch", "resnet18_frozen_normalize", "--n-epochs", "1", "--weights"]);
        run(command.arg(&part).args(more))
    };
    let output = with(&[]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    for expected in ["missing: ", "1 unexpected: strange", "--partial-weights", "weights inspect"] {
        assert!(text.contains(expected), "'{expected}' is not in: {text}");
    }
    let output = with(&["--partial-weights"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let record = fs::read_to_string(folder.path().join("runs/manifest/a/run.json")).unwrap();
    assert!(record.contains("1 unexpected: strange"), "{record}");
}

#[test]
fn list_names_repository_licence_and_origin() {
    let output = run(&mut weights(&["list"]));
    let text = stdout(&output);
    for part in ["resnet50", "timm/resnet50.tv_in1k", "BSD-3-Clause", "ImageNet-1k"] {
        assert!(text.contains(part), "{text}");
    }
    let answer = json(&run(&mut weights(&["list", "--json"])));
    assert_eq!(answer["weights"][0]["name"], "resnet18");
}

#[test]
fn an_unknown_name_is_refused_with_those_there_are() {
    let output = run(&mut weights(&["get", "resnet9"]));
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.contains("'resnet9'") && text.contains("resnet50"), "{text}");
}

/// How the hub of a test answers.
#[derive(Clone, Copy)]
enum Hub {
    Serves,
    /// With a SHA-256 that the file does not have.
    States(&'static str),
    /// Whose file has no SHA-256, as small files.
    StatesNothing,
    Lacks,
    BreaksOff,
}

/// A hub that serves one file, for as long as the test runs; gives its address.
fn serve(file: Vec<u8>, hub: Hub) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &file, hub);
        }
    });
    address
}

/// What the hub says to a request for a file or a part of it.
fn answer(mut stream: TcpStream, file: &[u8], hub: Hub) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).unwrap();
    let wanted = "GET /timm/resnet18.tv_in1k/resolve/main/model.safetensors ";
    if matches!(hub, Hub::Lacks) || !request.starts_with(wanted) {
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    let only_first = request.contains("bytes=0-0");
    let part = if only_first { &file[..1] } else { file };
    let tag = match hub {
        Hub::States(tag) => tag.to_owned(),
        Hub::StatesNothing => "abc".into(),
        _ => checksum(file),
    };
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes 0-{}/{}\r\n\
         ETag: \"{tag}\"\r\nX-Linked-Etag: \"{tag}\"\r\nX-Repo-Commit: {COMMIT}\r\n\
         Connection: close\r\n\r\n",
        part.len(),
        part.len() - 1,
        file.len()
    );
    let _ = stream.write_all(head.as_bytes());
    let broken = matches!(hub, Hub::BreaksOff) && !only_first;
    let _ = stream.write_all(if broken { &part[..part.len() / 2] } else { part });
}

fn checksum(file: &[u8]) -> String {
    let hexadecimal = |mut text: String, byte: u8| {
        write!(text, "{byte:02x}").unwrap();
        text
    };
    Sha256::digest(file).into_iter().fold(String::new(), hexadecimal)
}

fn file() -> Vec<u8> {
    fs::read(mobilenet()).unwrap()[..300_000].to_vec()
}

/// `pnp weights get resnet18` from a hub.
fn get(folder: &Path, address: &str, more: &[&str]) -> Output {
    let mut command = weights(&["get", "resnet18"]);
    command.args(more).current_dir(folder).env("HF_ENDPOINT", address).env("HOME", folder);
    command.env("XDG_CACHE_HOME", folder.join("cache")).env_remove("HF_TOKEN");
    for proxy in
        ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
    {
        command.env_remove(proxy);
    }
    run(&mut command)
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_file_comes_whole_from_the_hub_into_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let output = get(folder.path(), &serve(file(), Hub::Serves), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let cache = folder.path().join("cache/pnp/weights");
    assert!(fs::read(cache.join("resnet18.safetensors")).unwrap() == file());
    assert_eq!(entries(&cache), ["resnet18.safetensors"], "nothing else is left");
    let text = stdout(&output);
    for part in ["cache/pnp/weights/resnet18.safetensors", &checksum(&file()), "--weights"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_file_goes_where_it_is_told_and_replaces_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("w.safetensors"), "old").unwrap();
    let address = serve(file(), Hub::Serves);
    let output = get(folder.path(), &address, &["--output", "w.safetensors"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(fs::read(folder.path().join("w.safetensors")).unwrap() == file());
}

/// What fails leaves an old file as it was and nothing beside it, and says what to do.
fn fails(hub: Hub, more: &[&str], expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("w.safetensors"), "old").unwrap();
    let address = serve(file(), hub);
    let arguments = [&["--output", "w.safetensors"], more].concat();
    let output = get(folder.path(), &address, &arguments);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = stderr(&output);
    for part in expected {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
    assert_eq!(fs::read_to_string(folder.path().join("w.safetensors")).unwrap(), "old");
    assert_eq!(entries(folder.path()), ["w.safetensors"]);
}

#[test]
fn a_file_that_the_hub_lacks_is_said() {
    fails(Hub::Lacks, &[], &["timm/resnet18.tv_in1k/model.safetensors", "404"]);
}

#[test]
fn a_checksum_other_than_the_hub_states_is_refused() {
    const OTHER: &str = "00000000000000000000000000000000000000000000000000000000000000aa";
    fails(Hub::States(OTHER), &[], &["checksum", OTHER, "nothing was kept"]);
}

#[test]
fn a_checksum_other_than_the_pinned_one_is_refused() {
    let other = "b".repeat(64);
    fails(Hub::Serves, &["--sha256", &other], &["checksum", &other]);
}

#[test]
fn a_file_without_any_checksum_is_refused() {
    fails(Hub::StatesNothing, &[], &["states no SHA-256", "--sha256"]);
}

#[test]
fn a_connection_that_breaks_off_leaves_nothing() {
    fails(Hub::BreaksOff, &[], &["broke off", "nothing was kept"]);
}

#[test]
fn no_network_is_said_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    // A port that was just given back: nobody listens.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let output = get(folder.path(), &format!("http://127.0.0.1:{port}"), &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("cannot reach http://127.0.0.1"), "{text}");
    assert!(text.contains("--weights"), "{text}");
}

#[test]
fn a_sha256_that_is_none_is_a_wrong_request() {
    let output = run(&mut weights(&["get", "resnet18", "--sha256", "abc"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("64 hexadecimal digits"));
}
