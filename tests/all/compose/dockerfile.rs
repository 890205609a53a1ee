//! The Dockerfile, and what it takes along.

use std::{fmt::Write as _, process::Command};

use millpond_tests::server::binary;

use super::{root, tool};

/// Libraries of the image that the binary runs in.
const LIBRARIES: [&str; 5] =
    ["linux-vdso.so.1", "libgcc_s.so.1", "libm.so.6", "libc.so.6", "ld-linux-x86-64.so.2"];

fn text() -> String {
    std::fs::read_to_string(root().join("Dockerfile")).expect("there is a Dockerfile")
}

/// What hadolint says of a Dockerfile. Empty: nothing.
fn lint(text: &str) -> String {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("a temporary file can be written");
    // Without the settings that somebody may have at home.
    let mut hadolint = Command::new(tool("bin/hadolint"));
    hadolint.env_clear().current_dir("/").arg("--no-color").arg(file.path());
    let output = hadolint.output().expect("hadolint runs");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    let _ = write!(said, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    said
}

#[test]
fn hadolint_finds_nothing_in_the_dockerfile() {
    assert_eq!(lint(&text()), "");
}

#[test]
fn hadolint_finds_what_is_put_in() {
    let untagged = text().replace("FROM debian:bookworm-slim", "FROM debian");
    assert!(lint(&untagged).contains("DL3006"));
    let root_user = text().replace("USER 10001:10001", "USER root");
    assert!(lint(&root_user).contains("DL3002"));
}

#[test]
fn the_image_is_built_with_the_projects_rust_and_runs_as_its_own_user() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("there is a manifest");
    let (_, after) = manifest.split_once("rust-version = \"").expect("it says which Rust");
    let (version, _) = after.split_once('"').expect("in quotes");
    let text = text();
    assert!(text.contains(&format!("\nFROM rust:{version}-bookworm AS build\n")));
    for line in ["USER 10001:10001", "STOPSIGNAL SIGTERM", "EXPOSE 7420 7421", "ENTRYPOINT [\"millpond\"]"] {
        assert!(text.lines().any(|found| found == line), "{line}");
    }
}

#[test]
fn the_binary_needs_no_library_that_the_image_lacks() {
    let output = Command::new("ldd").arg(binary()).output().expect("ldd runs");
    let text = String::from_utf8(output.stdout).expect("ldd prints text");
    let needed: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(|path| path.rsplit('/').next().expect("a path has an end"))
        .collect();
    assert!(needed.len() > 2, "{text}");
    for library in needed {
        assert!(LIBRARIES.contains(&library), "{library} is not in the image");
    }
}

/// A whole build takes minutes; that cargo finds every crate and its build script in what is sent tells most.
#[test]
fn what_is_sent_to_the_build_is_the_whole_workspace() {
    let ignored = std::fs::read_to_string(root().join(".dockerignore")).expect("there is a .dockerignore");
    let ignored: Vec<&str> = ignored.lines().filter(|line| !line.starts_with('#')).collect();
    let leaves_out = |path: &str| {
        ignored.iter().any(|pattern| match pattern.strip_prefix("**/") {
            Some(suffix) if suffix.starts_with("*.") => path.ends_with(&suffix[1..]),
            Some(name) => path.split('/').any(|part| part == name),
            None => path.split('/').next() == Some(pattern) || path == *pattern,
        })
    };
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().expect("git runs");
    let listed = String::from_utf8(listed.stdout).expect("file names are UTF-8");
    let context = tempfile::tempdir().expect("a temporary folder");
    for path in listed.split_terminator('\0').filter(|path| !leaves_out(path)) {
        let (from, to) = (root().join(path), context.path().join(path));
        std::fs::create_dir_all(to.parent().expect("a file has a folder")).expect("a folder can be made");
        // One that another process is removing just now is none of the build's.
        let _ = std::fs::copy(from, to);
    }
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked", "--no-deps"])
        .current_dir(context.path())
        .output()
        .expect("cargo runs");
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    for needed in ["Cargo.lock", "schemas/build.rs", "schemas/proto/millpond/v1/record.proto", "src/main.rs"]
    {
        assert!(context.path().join(needed).exists(), "{needed} is left out");
    }
    assert!(
        !context.path().join("README.md").exists() && !context.path().join("docker-compose.yml").exists()
    );
}
