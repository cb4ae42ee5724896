//! Tables keyed by what is a hash already.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// Gives a `u64` or `u32` key back as its own hash.
#[derive(Clone, Copy, Default)]
pub(crate) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Keys are integers and come through the methods below; this is for completeness.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn write_u32(&mut self, key: u32) {
        // Serial numbers differ in their low bits only; the table's tags are taken from the high ones.
        self.0 = u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// A table keyed by block hashes or serial numbers.
pub(crate) type HashTable<K, V> = HashMap<K, V, BuildHasherDefault<Identity>>;
