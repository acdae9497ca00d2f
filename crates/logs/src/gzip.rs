//! Compression of files that were rotated away.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use flate2::{Compression, GzBuilder};
use jiff::Timestamp;

use crate::files::{remove, suffixed, writable};
use crate::format::Format;
use crate::{Error, Result};

/// What stands behind the name of a file whose compression is not complete.
pub(crate) const UNFINISHED: &str = ".gz.tmp";

/// Replaces `path` by `path.gz`, unless another file has got that name meanwhile. The header tells
/// the time of the latest record, in dockerd's form, so that readers can pass over the file.
pub(crate) fn compress(path: &Path, format: Format) -> Result<()> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("open", path)(error)),
    };
    let unfinished = suffixed(path, UNFINISHED);
    remove(&unfinished)?;
    let done = pack(&mut file, path, &unfinished, format).and_then(|()| {
        if is_still(&file, path) {
            // Not without the compressed one in place: it may have been swept as a leftover.
            let packed = suffixed(path, ".gz");
            std::fs::rename(&unfinished, &packed).map_err(Error::io("rename", &unfinished))?;
            return remove(path);
        }
        Ok(())
    });
    remove(&unfinished)?;
    done
}

fn pack(file: &mut File, path: &Path, target: &Path, format: Format) -> Result<()> {
    let mut header = GzBuilder::new();
    if let Some(time) = format.latest(file) {
        header = header.extra(format!("{{\"lastTime\":\"{time}\"}}"));
    }
    let mut packer = header.write(writable(target)?, Compression::default());
    io::copy(file, &mut packer).map_err(Error::io("compress", path))?;
    packer.finish().map_err(Error::io("compress", path))?;
    Ok(())
}

fn is_still(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// The time of the latest record, from a compressed file's header.
pub(crate) fn header_time(extra: &[u8]) -> Option<Timestamp> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Extra {
        last_time: Timestamp,
    }
    serde_json::from_slice::<Extra>(extra)
        .ok()
        .map(|extra| extra.last_time)
}
