//! What the documents promise is there: SPECIFICATION.md's tests, README.md's commands, links.
//!
//! Every row of a table in SPECIFICATION.md is a promise. Its last cell names, in backticks, what
//! holds it, one or more of:
//! - `some_test`, or `path/to/file.rs::some_test`: a function with a test attribute;
//! - `scripts/bench.sh`: a file of the repository;
//! - `make bench`: a target of the Makefile.

use std::collections::{BTreeMap, BTreeSet};

/// What there is in the repository for a promise to name.
#[derive(Clone, Debug, Default)]
pub struct Repository {
    /// Every file, by its path from the root.
    pub files: BTreeSet<String>,
    /// The names of test functions, by the path of their file.
    pub tests: BTreeMap<String, BTreeSet<String>>,
    /// The Makefile's targets.
    pub targets: BTreeSet<String>,
}

/// The names of the functions in `source` (a Rust file) that have a test attribute.
pub fn tests(source: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut marked = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[") {
            marked |= line.contains("test]") || line.contains("::test(");
        } else if let Some(name) = function(line) {
            if marked {
                names.insert(name.to_owned());
            }
            marked = false;
        } else if line.ends_with('}') || line.ends_with(';') {
            marked = false;
        }
    }
    names
}

fn function(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let line = line.strip_prefix("async ").unwrap_or(line);
    line.strip_prefix("fn ")?.split(['(', '<']).next()
}

/// The targets of `makefile`.
pub fn targets(makefile: &str) -> BTreeSet<String> {
    let rules = makefile
        .lines()
        .filter(|line| !line.starts_with(['\t', '#', '.', ' ']));
    let rules = rules.filter_map(|line| {
        line.split_once(':')
            .filter(|(_, rest)| !rest.starts_with('='))
    });
    rules
        .flat_map(|(names, _)| names.split_ascii_whitespace())
        .map(str::to_owned)
        .collect()
}

/// Each promise of `specification` that names nothing which holds it.
pub fn check_specification(specification: &str, repository: &Repository) -> Vec<String> {
    let mut found = Vec::new();
    let mut rows = 0;
    for row in rows_of(specification) {
        rows += 1;
        let last = row.last().map(String::as_str).unwrap_or_default();
        let promise = row.first().map(String::as_str).unwrap_or_default();
        let names = backticked(last);
        if names.is_empty() {
            found.push(format!(
                "SPECIFICATION.md: \"{promise}\" names nothing that holds it"
            ));
        }
        for name in names.iter().filter(|name| !repository.has(name)) {
            found.push(format!(
                "SPECIFICATION.md: \"{promise}\" names `{name}`, which does not exist"
            ));
        }
    }
    if rows == 0 {
        found.push("SPECIFICATION.md: no table of promises".to_owned());
    }
    found
}

impl Repository {
    fn has(&self, name: &str) -> bool {
        if let Some(target) = name.strip_prefix("make ") {
            return self.targets.contains(target);
        }
        if let Some((path, test)) = name.split_once(".rs::") {
            let path = format!("{path}.rs");
            return self
                .tests
                .get(&path)
                .is_some_and(|tests| tests.contains(test));
        }
        self.files.contains(name) || self.tests.values().any(|tests| tests.contains(name))
    }
}

/// The cells of each table row of `markdown`, but for headings and the lines under them.
fn rows_of(markdown: &str) -> Vec<Vec<String>> {
    let lines: Vec<_> = markdown.lines().map(str::trim).collect();
    let is_rule = |line: &str| line.starts_with('|') && line.chars().all(|c| "|-: ".contains(c));
    let mut rows = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let heading = lines.get(number + 1).is_some_and(|next| is_rule(next));
        if line.starts_with('|') && !is_rule(line) && !heading {
            // A bar in a cell is written \|.
            let line = line.replace("\\|", "\u{0}");
            let cells = line.trim_matches('|').split('|');
            rows.push(
                cells
                    .map(|cell| cell.trim().replace('\u{0}', "|"))
                    .collect(),
            );
        }
    }
    rows
}

fn backticked(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Each `make X` in `markdown` that the Makefile does not know, and each link to a file that is
/// not there. `path` is the document's, in the repository's root.
pub fn check_document(path: &str, markdown: &str, repository: &Repository) -> Vec<String> {
    let mut found = Vec::new();
    for command in commands(markdown) {
        for target in make_targets(&command) {
            if !repository.targets.contains(&target) {
                found.push(format!(
                    "{path}: `{command}`: the Makefile has no target {target}"
                ));
            }
        }
    }
    for link in links(markdown) {
        let folder = format!("{}/", link.trim_end_matches('/'));
        let there = repository.files.contains(&link)
            || repository
                .files
                .iter()
                .any(|file| file.starts_with(&folder));
        if !there {
            found.push(format!("{path}: links to {link}, which does not exist"));
        }
    }
    found
}

/// What stands in backticks, and the lines of code blocks.
fn commands(markdown: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut code = false;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        } else if code {
            found.push(line.trim().to_owned());
        } else {
            found.extend(backticked(line));
        }
    }
    found
}

/// The targets that a command line asks `make` for.
fn make_targets(command: &str) -> Vec<String> {
    let mut words = command.split_ascii_whitespace().peekable();
    while words
        .peek()
        .is_some_and(|word| matches!(*word, "$" | "#" | "sudo") || word.contains('='))
    {
        words.next();
    }
    if words.next() != Some("make") {
        return Vec::new();
    }
    let rest = words.take_while(|word| !matches!(*word, "#" | "&&" | ";" | "|"));
    rest.filter(|word| !word.contains('=') && !word.starts_with('-'))
        .map(str::to_owned)
        .collect()
}

/// The targets of Markdown links that stay in the repository.
fn links(markdown: &str) -> Vec<String> {
    let after = markdown.split("](").skip(1);
    let targets = after.filter_map(|text| text.split(')').next());
    let targets = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    targets
        .map(|target| target.split('#').next().unwrap_or(target).to_owned())
        .collect()
}

#[cfg(test)]
mod unit {
    use super::*;

    fn repository() -> Repository {
        let source = "#[test]\nfn plain() {}\n#[tokio::test(flavor = \"multi_thread\")]\n\
            #[ignore = \"slow\"]\nasync fn waits() {\n}\nfn no_test() {}\n";
        Repository {
            files: BTreeSet::from(["scripts/bench.sh".to_owned(), "tests/a.rs".to_owned()]),
            tests: BTreeMap::from([("tests/a.rs".to_owned(), tests(source))]),
            targets: targets(
                ".PHONY: x\nPREFIX ?= /usr\nDIR := a\nrun: build\n\techo: x\nbench test:\n",
            ),
        }
    }

    #[test]
    fn only_marked_functions_are_tests() {
        let found = &repository().tests["tests/a.rs"];
        assert_eq!(found.iter().collect::<Vec<_>>(), ["plain", "waits"]);
    }

    #[test]
    fn a_mark_does_not_reach_past_another_item() {
        assert!(
            tests("#[cfg(test)]\nmod tests {\n    use super::*;\n    fn helper() {}\n}\n")
                .is_empty()
        );
    }

    #[test]
    fn targets_are_the_rules_names() {
        let found = repository().targets;
        assert_eq!(found.iter().collect::<Vec<_>>(), ["bench", "run", "test"]);
    }

    #[test]
    fn a_held_promise_is_right() {
        let text = "| promise | number | held by |\n|---|---|---|\n| a | 1 | `plain` |\n\
            | b | 2 | `tests/a.rs::waits`, `scripts/bench.sh` |\n| c \\| d | 3 | `make bench` |\n";
        assert_eq!(
            check_specification(text, &repository()),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_promise_that_names_nothing_is_wrong() {
        let text = "| promise | held by |\n|---|---|\n| a | soon |\n";
        assert_eq!(
            check_specification(text, &repository()),
            ["SPECIFICATION.md: \"a\" names nothing that holds it"]
        );
    }

    #[test]
    fn a_promise_that_names_what_is_not_there_is_wrong() {
        for name in ["no_test", "tests/b.rs::plain", "scripts/no.sh", "make fly"] {
            let text = format!("| promise | held by |\n|---|---|\n| a | `plain`, `{name}` |\n");
            let found = check_specification(&text, &repository());
            assert_eq!(found.len(), 1, "{name}: {found:?}");
        }
    }

    #[test]
    fn a_specification_without_promises_is_wrong() {
        assert_eq!(
            check_specification("# Nothing yet\n", &repository()).len(),
            1
        );
    }

    #[test]
    fn commands_and_links_that_are_there_are_right() {
        let text = "Do `make run`, see [bench](scripts/bench.sh), [all](scripts/), [web](https://a.b).\n\
            ```sh\n$ sudo make test PREFIX=/usr  # all\n```\n";
        assert_eq!(
            check_document("README.md", text, &repository()),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_command_that_make_does_not_know_is_wrong() {
        for text in [
            "Do `make fly`.",
            "```\nmake run fly\n```",
            "`sudo A=b make fly`",
        ] {
            let found = check_document("README.md", text, &repository());
            assert_eq!(found.len(), 1, "{text}: {found:?}");
        }
    }

    #[test]
    fn a_link_to_nothing_is_wrong() {
        let found = check_document("README.md", "[x](ROADMAP.md#later)", &repository());
        assert_eq!(
            found,
            ["README.md: links to ROADMAP.md, which does not exist"]
        );
    }
}
