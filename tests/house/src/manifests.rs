//! Every crate's `Cargo.toml` takes the workspace's lints, licence and edition.

/// What every manifest must say: (table, line in it).
const WANTED: &[(&str, &str)] = &[
    ("lints", "workspace = true"),
    ("package", "license.workspace = true"),
    ("package", "edition.workspace = true"),
    ("package", "rust-version.workspace = true"),
];

/// What `manifest`, the text of the file at `path`, lacks.
pub fn check(path: &str, manifest: &str) -> Vec<String> {
    let wanted = WANTED
        .iter()
        .filter(|(table, line)| !says(manifest, table, line));
    wanted
        .map(|(table, line)| format!("{path}: [{table}] lacks `{line}`"))
        .collect()
}

fn says(manifest: &str, table: &str, wanted: &str) -> bool {
    let header = format!("[{table}]");
    let lines = manifest.lines().map(str::trim);
    let mut inside = lines.skip_while(|line| **line != *header).skip(1);
    inside
        .by_ref()
        .take_while(|line| !line.starts_with('['))
        .any(|line| line == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\nname = \"x\"\nedition.workspace = true\n\
        rust-version.workspace = true\nlicense.workspace = true\n\n[lints]\nworkspace = true\n";

    #[test]
    fn a_whole_manifest_is_right() {
        assert_eq!(check("x/Cargo.toml", GOOD), Vec::<String>::new());
    }

    #[test]
    fn lints_of_its_own_are_wrong() {
        let own = GOOD.replace(
            "[lints]\nworkspace = true",
            "[lints.rust]\nunsafe_code = \"allow\"",
        );
        assert_eq!(
            check("x/Cargo.toml", &own),
            ["x/Cargo.toml: [lints] lacks `workspace = true`"]
        );
    }

    #[test]
    fn the_line_counts_only_in_its_own_table() {
        let elsewhere = GOOD.replace("[lints]\n", "[lints]\n[dependencies.x]\n");
        assert_eq!(check("x/Cargo.toml", &elsewhere).len(), 1);
    }
}
