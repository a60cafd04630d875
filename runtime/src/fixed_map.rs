//! A hash map whose iteration order no run decides anew.

use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A hash map whose order is the same in every process.
#[expect(clippy::disallowed_types, reason = "hashed with a fixed seed")]
pub(crate) type FixedMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<Mixer>>;

/// Hashes numbers, which all hot keys are, in one multiplication; anything else by xxh3.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mixer(u64);

/// 2^64 divided by the golden ratio, made odd (Knuth, The Art of Computer Programming, volume 3,
/// section 6.4).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u64(&mut self, number: u64) {
        // Both halves of the product: a map looks at the highest bits and at the lowest.
        let product = u128::from(self.0 ^ number ^ SPREAD) * u128::from(SPREAD);
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher as _, Hash as _};

    use super::*;

    fn hash(number: u64) -> u64 {
        BuildHasherDefault::<Mixer>::default().hash_one(number)
    }

    /// Numbers of actors count up, and those of one part of a table differ by its parts.
    #[test]
    fn numbers_in_steps_spread_over_a_map() {
        for step in [1, 64, 4_096, 1 << 32, 1 << 48] {
            let (mut low, mut high) = ([0_u32; 256], [0_u32; 128]);
            for number in 0..8_192 {
                let hash = hash(number * step);
                low[(hash % 256) as usize] += 1;
                high[(hash >> 57) as usize] += 1;
            }
            // 32 and 64 are even shares.
            assert!(low.iter().all(|count| *count < 128), "step {step}: {low:?}");
            assert!(high.iter().all(|count| *count < 256), "step {step}: {high:?}");
        }
    }

    #[test]
    fn every_part_of_a_key_counts() {
        let of = |first: &str, second: u64| {
            let mut mixer = Mixer::default();
            (first, second).hash(&mut mixer);
            mixer.finish()
        };
        assert_ne!(of("a", 1), of("b", 1));
        assert_ne!(of("a", 1), of("a", 2));
        assert_eq!(of("a", 1), of("a", 1));
    }
}
