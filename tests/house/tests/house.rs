//! The rules of the house, applied to this repository.

use std::path::Path;

use house_tests::promises::{self, Repository};
use house_tests::{files, floors, manifests, root, sources};

#[track_caller]
fn none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[track_caller]
fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn metadata() -> cargo_metadata::Metadata {
    let mut command = cargo_metadata::MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).no_deps();
    command.exec().expect("cargo metadata works here")
}

fn repository() -> Repository {
    let mut repository = Repository::default();
    for (path, file) in files(&root()).expect("the repository can be read") {
        if path.ends_with(".rs") {
            repository
                .tests
                .insert(path.clone(), promises::tests(&read(file)));
        }
        repository.files.insert(path);
    }
    repository.targets = promises::targets(&read(root().join("Makefile")));
    repository
}

#[test]
fn crate_arrows_point_down() {
    let crates = floors::workspace(&metadata());
    assert!(
        crates.len() > 10,
        "cargo metadata knows few crates: {crates:?}"
    );
    none(&floors::check(&crates));
}

#[test]
fn every_crate_takes_the_workspaces_lints() {
    let mut found = Vec::new();
    for package in metadata().workspace_packages() {
        let path = package.manifest_path.as_str();
        found.extend(manifests::check(path, &read(path)));
    }
    none(&found);
}

#[test]
fn every_name_says_what_is_inside() {
    let files = files(&root()).expect("the repository can be read");
    let found: Vec<_> = files
        .iter()
        .filter_map(|(path, _)| sources::check_name(path))
        .collect();
    none(&found);
}

#[test]
fn sources_are_short_and_safe() {
    let files = files(&root()).expect("the repository can be read");
    let rust = files.iter().filter(|(path, _)| path.ends_with(".rs"));
    let found: Vec<_> = rust
        .flat_map(|(path, file)| sources::check_source(path, &read(file)))
        .collect();
    none(&found);
}

#[test]
fn each_promise_names_what_holds_it() {
    let text = read(root().join("SPECIFICATION.md"));
    none(&promises::check_specification(&text, &repository()));
}

#[test]
fn documents_name_commands_and_files_that_exist() {
    let repository = repository();
    let mut found = Vec::new();
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SPECIFICATION.md",
        "CHANGELOG.md",
    ] {
        let text = read(root().join(name));
        found.extend(promises::check_document(name, &text, &repository));
    }
    none(&found);
}

#[test]
fn every_point_to_die_at_is_in_the_table_once() {
    let table = read(root().join("crates/fault/src/lib.rs"));
    let mut found = Vec::new();
    for (path, file) in files(&root()).expect("the repository can be read") {
        if !path.starts_with("crates/") || !path.ends_with(".rs") {
            continue;
        }
        for call in read(file).split("fault::point(\"").skip(1) {
            let step = call.split('"').next().unwrap_or_default();
            if table.matches(&format!("    \"{step}\",\n")).count() != 1 {
                found.push(format!("{path}: {step} is not once in fault::POINTS"));
            }
        }
    }
    none(&found);
}
