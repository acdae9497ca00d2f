//! `docker container prune`: takes away what does not run.

use std::sync::atomic::{AtomicBool, Ordering};

use berth_wire as wire;
use jiff::Timestamp;

use crate::container::handle::View;
use crate::{Error, Result};

const FILTERS: [&str; 3] = ["label", "label!", "until"];

/// The right to prune, which one has at a time.
#[derive(Debug)]
pub(crate) struct Pruning<'a>(&'a AtomicBool);

impl<'a> Pruning<'a> {
    /// Takes the right, until what is returned is dropped.
    ///
    /// # Errors
    /// Another prune is under way.
    pub(crate) fn begin(flag: &'a AtomicBool) -> Result<Pruning<'a>> {
        if flag.swap(true, Ordering::AcqRel) {
            return Err(Error::conflict("a prune operation is already running"));
        }
        Ok(Pruning(flag))
    }
}

impl Drop for Pruning<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Which containers go.
#[derive(Debug)]
pub(crate) struct Choice<'a> {
    filters: &'a wire::Filters,
    /// Only those that were made before.
    until: Option<Timestamp>,
}

impl<'a> Choice<'a> {
    /// Checks the filters; `moment` reads what `until` says.
    ///
    /// # Errors
    /// A filter that there is not, or a time that is none.
    pub(crate) fn new(
        filters: &'a wire::Filters,
        moment: impl Fn(&str) -> Result<Timestamp>,
    ) -> Result<Choice<'a>> {
        filters
            .validate(&FILTERS)
            .map_err(|error| Error::invalid(error.to_string()))?;
        let until = match filters.get("until")[..] {
            [] => None,
            [one] => Some(moment(one)?),
            _ => return Err(Error::invalid("more than one until filter specified")),
        };
        Ok(Choice { filters, until })
    }

    pub(crate) fn takes(&self, view: &View) -> bool {
        let labels = &view.record.config.labels;
        let unwanted = self.filters.contains("label!") && self.filters.labels("label!", labels);
        !view.run.status.is_up()
            && self.until.is_none_or(|until| view.record.created <= until)
            && self.filters.labels("label", labels)
            && !unwanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_prunes_at_a_time() {
        let flag = AtomicBool::new(false);
        let first = Pruning::begin(&flag).unwrap();
        let error = Pruning::begin(&flag).unwrap_err();
        assert_eq!(error.to_string(), "a prune operation is already running");
        drop(first);
        assert!(Pruning::begin(&flag).is_ok());
    }

    #[test]
    fn filters_are_checked() {
        let moment = |_: &str| Ok(Timestamp::UNIX_EPOCH);
        let error = |filters: &[(&str, &str)]| {
            let mut given = wire::Filters::new();
            filters
                .iter()
                .for_each(|(name, value)| given.add(name, value));
            Choice::new(&given, moment)
                .map(drop)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(error(&[("name", "x")]), "invalid filter 'name'");
        assert_eq!(
            error(&[("until", "1h"), ("until", "2h")]),
            "more than one until filter specified"
        );
    }
}
