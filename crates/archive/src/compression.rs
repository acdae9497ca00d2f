//! What streams are compressed with, told by their first bytes, and the plain bytes in them.

use std::io::{self, Cursor, Read};

/// Enough bytes to tell compressions apart.
const MAGIC: usize = 6;
/// The most memory, in bytes, that a stream may ask for to be decompressed: twice what `xz -9` does.
const MEMORY: u64 = 128 << 20;
/// As much of what went before as everything that is compressed by zstd may refer back to (RFC 8878, 3.1.1.1.2),
/// as a power of two, in bytes.
const WINDOW_LOG: u32 = 23;

/// What a stream is compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Nothing.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
}

impl Compression {
    /// Tells by the first bytes.
    pub fn detect(head: &[u8]) -> Compression {
        match head {
            [0x1f, 0x8b, 0x08, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0x00, ..] => Compression::Xz,
            [b'B', b'Z', b'h', ..] => Compression::Bzip2,
            _ => Compression::None,
        }
    }
}

/// Looks at the first bytes of `reader` and gives them back to it.
///
/// # Errors
/// It cannot be read.
pub fn peek<R: Read>(mut reader: R) -> io::Result<(Compression, impl Read)> {
    let mut head = [0; MAGIC];
    let mut length = 0;
    while length < MAGIC {
        match reader.read(&mut head[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let found = Compression::detect(&head[..length]);
    let head = Read::take(Cursor::new(head), length as u64);
    Ok((found, head.chain(reader)))
}

/// The plain bytes of `reader`, whatever it is compressed with. Several compressed streams, one
/// behind the other, are one.
///
/// # Errors
/// It cannot be read. What asks for too much memory to be decompressed fails when it is read.
pub fn plain<'a>(reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let (compression, reader) = peek(reader)?;
    Ok(match compression {
        Compression::None => Box::new(reader),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(reader)),
        // Asks for no more than the library's own limit, which is as large.
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(reader)?),
        Compression::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(reader)),
        Compression::Xz => {
            let stream =
                liblzma::stream::Stream::new_stream_decoder(MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::read::XzDecoder::new_stream(reader, stream))
        }
    })
}

/// As [`plain`], of what takes little memory to decompress; `None` for anything else.
///
/// # Errors
/// As [`plain`]. What was compressed by `zstd --long` fails when it is read.
pub fn plain_in_little<'a>(reader: impl Read + 'a) -> io::Result<Option<Box<dyn Read + 'a>>> {
    let (compression, reader) = peek(reader)?;
    Ok(match compression {
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(reader)?;
            decoder.window_log_max(WINDOW_LOG)?;
            Some(Box::new(decoder))
        }
        Compression::None | Compression::Gzip => Some(plain(reader)?),
        Compression::Bzip2 | Compression::Xz => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compressed(data: &[u8], with: Compression) -> Vec<u8> {
        let mut out = Vec::new();
        let done = match with {
            Compression::None => io::Read::read_to_end(&mut &data[..], &mut out),
            Compression::Gzip => {
                let level = flate2::Compression::fast();
                flate2::read::GzEncoder::new(data, level).read_to_end(&mut out)
            }
            Compression::Zstd => zstd::stream::read::Encoder::new(data, 1)
                .unwrap()
                .read_to_end(&mut out),
            Compression::Bzip2 => {
                let level = bzip2::Compression::fast();
                bzip2::read::BzEncoder::new(data, level).read_to_end(&mut out)
            }
            Compression::Xz => liblzma::read::XzEncoder::new(data, 1).read_to_end(&mut out),
        };
        done.unwrap();
        out
    }

    const ALL: [Compression; 4] = [
        Compression::Gzip,
        Compression::Zstd,
        Compression::Bzip2,
        Compression::Xz,
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_was_compressed_comes_back(data in proptest::collection::vec(any::<u8>(), 0..4096)) {
            for with in ALL {
                let mut packed = compressed(&data, with);
                prop_assert_eq!(peek(&packed[..]).unwrap().0, with);
                let mut back = Vec::new();
                plain(&packed[..]).unwrap().read_to_end(&mut back).unwrap();
                prop_assert_eq!(&back, &data);
                // One more behind it.
                packed.extend(compressed(b"more", with));
                back.clear();
                plain(&packed[..]).unwrap().read_to_end(&mut back).unwrap();
                prop_assert!(back.ends_with(b"more") && back.starts_with(&data));
            }
        }

        #[test]
        fn any_bytes_behind_a_magic_are_answered(
            with in proptest::sample::select(&ALL[..]),
            rest in proptest::collection::vec(any::<u8>(), 0..512),
        ) {
            let mut bytes = compressed(b"", with);
            bytes.truncate(MAGIC);
            bytes.extend(rest);
            let read = plain(&bytes[..]).and_then(|r| io::copy(&mut r.take(1 << 20), &mut io::sink()));
            drop(read);
        }
    }

    #[test]
    fn who_asks_for_too_much_memory_gets_none() {
        let mut packed = compressed(&[7; 1000], Compression::Xz);
        // The block's header: its size, flags, the filter's ID, the size of its properties, and
        // the size of the dictionary.
        let at = 12 + 2;
        assert_eq!(&packed[at..at + 2], &[0x21, 0x01]);
        packed[at + 2] = 38; // 2 GiB
        let length = (usize::from(packed[12]) + 1) * 4;
        let sum = crc32(&packed[12..12 + length - 4]);
        packed[12 + length - 4..12 + length].copy_from_slice(&sum.to_le_bytes());
        let error = plain(&packed[..]).unwrap().read_to_end(&mut Vec::new());
        let text = error.unwrap_err().to_string();
        assert!(text.contains("memory"), "{text}");
    }

    /// The checksum of an xz header.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
                (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
            })
        })
    }
}
