//! A limit on the headers of a tar.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// How many bytes of headers one member may have, long names and extended attributes included.
const MAX_HEADERS: usize = 1 << 20;

/// Counts what is read while a tar reader looks for the next member: long names and extended
/// attributes are kept in memory, and a hostile archive may have gigabytes of them.
#[derive(Debug)]
pub struct Metered<R> {
    inner: R,
    left: Rc<Cell<Option<usize>>>,
}

/// Says when the reader looks for a member. Whoever iterates holds it.
#[derive(Debug)]
pub struct Budget(Rc<Cell<Option<usize>>>);

impl<R> Metered<R> {
    /// Counts nothing yet.
    pub fn new(inner: R) -> (Metered<R>, Budget) {
        let left = Rc::new(Cell::new(None));
        let budget = Budget(left.clone());
        (Metered { inner, left }, budget)
    }
}

impl Budget {
    /// What `next` reads counts: the headers of one member.
    pub fn header<T>(&self, next: impl FnOnce() -> T) -> T {
        self.0.set(Some(MAX_HEADERS));
        let found = next();
        self.0.set(None);
        found
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(left) = self.left.get() else {
            return self.inner.read(buffer);
        };
        if left == 0 {
            return Err(io::Error::other("archive/tar: header field too long"));
        }
        let most = buffer.len().min(left);
        let n = self.inner.read(&mut buffer[..most])?;
        self.left.set(Some(left - n));
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_count_and_contents_do_not() {
        let (mut metered, budget) = Metered::new(io::repeat(0));
        let mut large = vec![0; 2 * MAX_HEADERS];
        metered.read_exact(&mut large).unwrap();
        for _ in 0..2 {
            let fits = &mut large[..MAX_HEADERS];
            budget.header(|| metered.read_exact(fits)).unwrap();
        }
        let error = budget.header(|| metered.read_exact(&mut large));
        assert!(error.unwrap_err().to_string().contains("too long"));
        metered.read_exact(&mut large).unwrap();
    }
}
