//! Is it all zeros? Asked of every block that may be a hole and of every padding.

/// Whether every byte is zero (so too where there is none). Runs in words, so that a hole of a
/// block costs nanoseconds; not constant in time, and never used on a secret.
pub fn all_zeros(bytes: &[u8]) -> bool {
    let (lanes, rest) = bytes.as_chunks::<64>();
    lanes.iter().all(lane_is_zero) && rest.iter().all(|&byte| byte == 0)
}

/// One cache line, without a branch inside, which compiles to vector instructions.
fn lane_is_zero(lane: &[u8; 64]) -> bool {
    lane.iter().fold(0, |seen, &byte| seen | byte) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_of_any_length_are_zeros() {
        for len in [0, 1, 63, 64, 65, 127, 128, 4096] {
            assert!(all_zeros(&vec![0; len]), "{len}");
        }
    }

    #[test]
    fn one_set_bit_anywhere_is_seen() {
        for at in 0..200 {
            for bit in [1, 0x80] {
                let mut bytes = [0; 200];
                bytes[at] = bit;
                assert!(!all_zeros(&bytes), "{at}");
            }
        }
    }
}
