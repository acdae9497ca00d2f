//! Tars written by hand, for what no tool would write.

/// One tar.
#[derive(Debug, Default)]
pub(crate) struct Tarball(Vec<u8>);

/// What a header says besides what it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: u32,
}

impl Tarball {
    /// A member; what is too long for the header is cut off.
    pub(crate) fn member(self, name: &str, kind: u8, link: &str, content: &[u8]) -> Tarball {
        let plain = Attributes {
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 0,
        };
        self.member_as(name, kind, link, content, plain)
    }

    /// A member with such attributes.
    pub(crate) fn member_as(
        mut self,
        name: &str,
        kind: u8,
        link: &str,
        content: &[u8],
        attributes: Attributes,
    ) -> Tarball {
        let Attributes {
            mode,
            uid,
            gid,
            mtime,
        } = attributes;
        let size = content.len();
        let mut header = [0u8; 512];
        let mut put = |at: usize, most: usize, bytes: &[u8]| {
            let bytes = &bytes[..bytes.len().min(most)];
            header[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(0, 100, name.as_bytes());
        put(100, 8, format!("{mode:07o}").as_bytes());
        put(108, 8, format!("{uid:07o}").as_bytes());
        put(116, 8, format!("{gid:07o}").as_bytes());
        put(124, 12, format!("{size:011o}").as_bytes());
        put(136, 12, format!("{mtime:011o}").as_bytes());
        put(148, 8, b"        ");
        put(156, 1, &[kind]);
        put(157, 100, link.as_bytes());
        put(257, 8, b"ustar\x0000");
        // The host's `/dev/null`.
        put(329, 8, b"0000001");
        put(337, 8, b"0000003");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().div_ceil(512) * 512, 0);
        self
    }

    /// A regular file.
    pub(crate) fn file(self, name: &str, content: &[u8]) -> Tarball {
        self.member(name, b'0', "", content)
    }

    /// What a PAX header says of the next member.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Tarball {
        let all: Vec<u8> = records.iter().flat_map(|(k, v)| record(k, v)).collect();
        self.member("pax", b'x', "", &all)
    }

    /// The bytes so far, for more to follow.
    pub(crate) fn open(self) -> Vec<u8> {
        self.0
    }

    /// The whole tar's bytes.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// `<its own length> <key>=<value>\n`.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut record = format!("{length} {key}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}
