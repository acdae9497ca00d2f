//! Values of every type for tests, made of a number.

use std::collections::{BTreeMap, BTreeSet};

use crate::{CreateRequest, Filters};

/// A source of numbers: the same seed gives the same ones.
#[derive(Debug)]
pub(crate) struct Seed(pub(crate) u64);

impl Seed {
    fn next(&mut self) -> u64 {
        // xorshift: any sequence that varies will do.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn count(&mut self) -> usize {
        usize::try_from(self.next() % 3).unwrap_or_default()
    }
}

/// A type that values can be made of.
pub(crate) trait Sample: Sized {
    fn sample(seed: &mut Seed) -> Self;
}

macro_rules! numbers {
    ($($ty:ty),*) => {$(
        impl Sample for $ty {
            #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
            fn sample(seed: &mut Seed) -> $ty {
                seed.next() as $ty
            }
        }
    )*};
}

numbers!(u16, u32, u64, i32, i64);

impl Sample for bool {
    fn sample(seed: &mut Seed) -> bool {
        seed.next().is_multiple_of(2)
    }
}

impl Sample for String {
    // Never empty: an empty point in time is written as the zero time.
    fn sample(seed: &mut Seed) -> String {
        format!("é\"\n{}", seed.next())
    }
}

impl Sample for serde_json::Value {
    fn sample(seed: &mut Seed) -> serde_json::Value {
        serde_json::json!({ "any": [seed.next(), null] })
    }
}

impl<T: Sample, const N: usize> Sample for [T; N] {
    fn sample(seed: &mut Seed) -> [T; N] {
        std::array::from_fn(|_| T::sample(seed))
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(seed: &mut Seed) -> Option<T> {
        bool::sample(seed).then(|| T::sample(seed))
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(seed: &mut Seed) -> Vec<T> {
        (0..seed.count()).map(|_| T::sample(seed)).collect()
    }
}

impl<T: Sample> Sample for BTreeMap<String, T> {
    fn sample(seed: &mut Seed) -> BTreeMap<String, T> {
        (0..seed.count())
            .map(|_| (String::sample(seed), T::sample(seed)))
            .collect()
    }
}

impl Sample for BTreeSet<String> {
    fn sample(seed: &mut Seed) -> BTreeSet<String> {
        (0..seed.count()).map(|_| String::sample(seed)).collect()
    }
}

impl Sample for CreateRequest {
    fn sample(seed: &mut Seed) -> CreateRequest {
        CreateRequest {
            config: Sample::sample(seed),
            host_config: Sample::sample(seed),
            networking_config: Sample::sample(seed),
        }
    }
}

impl Sample for Filters {
    fn sample(seed: &mut Seed) -> Filters {
        let mut filters = Filters::new();
        for _ in 0..seed.count() {
            filters.add(&String::sample(seed), &String::sample(seed));
        }
        filters
    }
}
