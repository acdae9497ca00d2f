//! Reading `daemon.json`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::{Error, Map, Result, nested};

/// More than any configuration is; a file by mistake shall not fill the memory.
const MOST: u64 = 4 << 20;

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Content {
    /// Its options; keys inside of them in the spelling that ours have.
    pub(crate) options: Map,
    /// The keys inside of options that mean nothing.
    pub(crate) ignored: Vec<String>,
}

/// The file's content. An empty file has none.
pub(crate) fn load(path: &Path) -> Result<Content> {
    parse(&read(path, MOST)?)
}

/// The text of a regular file of at most `most` bytes.
pub(crate) fn read(path: &Path, most: u64) -> Result<String> {
    let io = |what: &str| {
        let what = format!("{what} {}", path.display());
        move |source| Error::Io { what, source }
    };
    // A FIFO would keep us waiting: look before opening.
    let kind = std::fs::metadata(path).map_err(io("open"))?;
    if kind.is_dir() {
        return Err(Error::invalid(format!(
            "read {}: is a directory",
            path.display()
        )));
    }
    if !kind.is_file() {
        return Err(Error::invalid(format!(
            "read {}: not a regular file",
            path.display()
        )));
    }
    let file = File::open(path).map_err(io("open"))?;
    let mut bytes = Vec::new();
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(io("read"))?;
    if bytes.len() as u64 > most {
        let message = format!("read {}: larger than {} MiB", path.display(), most >> 20);
        return Err(Error::invalid(message));
    }
    // Windows editors put a byte order mark before the text.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(Error::invalid(format!(
            "read {}: not UTF-8 text",
            path.display()
        ))),
    }
}

pub(crate) fn parse(text: &str) -> Result<Content> {
    if text.trim().is_empty() {
        return Ok(Content::default());
    }
    let (value, ignored) =
        nested::read(text).map_err(|error| Error::Syntax(format!("invalid JSON: {error}")))?;
    match value {
        Value::Object(options) => Ok(Content { options, ignored }),
        Value::Null => Ok(Content::default()),
        _ => Err(Error::Syntax("invalid JSON: expected an object".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_and_null_say_nothing() {
        for text in ["", " \n", "null", "{}"] {
            assert!(parse(text).unwrap().options.is_empty(), "{text:?}");
        }
    }

    #[test]
    fn malformed_text_is_located() {
        let message = parse("{\n  \"debug\": yes\n}").unwrap_err().to_string();
        assert!(message.starts_with("invalid JSON: "), "{message}");
        assert!(message.contains("line 2 column"), "{message}");
        assert!(!message.contains('\n'));
        assert!(parse("{} {}").unwrap_err().to_string().contains("trailing"));
        assert!(parse("[1]").is_err());
    }

    #[test]
    fn what_is_no_configuration_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let message = load(dir.path()).unwrap_err().to_string();
        assert!(message.ends_with(": is a directory"), "{message}");
        let message = load(&dir.path().join("x")).unwrap_err().to_string();
        assert_eq!(
            message,
            format!("open {}/x: no such file or directory", dir.path().display())
        );
        let message = load(Path::new("/dev/null")).unwrap_err().to_string();
        assert_eq!(message, "read /dev/null: not a regular file");
        let big = dir.path().join("big");
        File::create(&big).unwrap().set_len(100 << 20).unwrap();
        assert!(
            load(&big)
                .unwrap_err()
                .to_string()
                .ends_with("larger than 4 MiB")
        );
        let bom = dir.path().join("bom");
        std::fs::write(&bom, b"\xef\xbb\xbf{\"debug\":true}").unwrap();
        assert_eq!(load(&bom).unwrap().options["debug"], true);
        std::fs::write(&bom, b"{\"debug\":\"\xff\"}").unwrap();
        assert!(
            load(&bom)
                .unwrap_err()
                .to_string()
                .ends_with("not UTF-8 text")
        );
    }
}
