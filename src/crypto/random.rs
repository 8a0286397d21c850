//! Random bytes from the operating system, by way of aws-lc's DRBG.

/// Fills `buf` with random bytes.
///
/// # Panics
/// Where the system has no randomness to give: there is no safe way on without it, and no nonce or
/// key may be made. It is the operation that ends, not the mount.
pub fn fill(buf: &mut [u8]) {
    aws_lc_rs::rand::fill(buf).expect("the operating system gives random bytes");
}

/// `N` random bytes.
///
/// # Panics
/// As [`fill`].
pub fn array<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        assert_ne!(array::<32>(), array::<32>());
    }

    #[test]
    fn every_byte_of_a_buffer_is_drawn() {
        let mut ever_set = [0_u8; 100];
        for _ in 0..64 {
            let drawn = array::<100>();
            ever_set
                .iter_mut()
                .zip(drawn)
                .for_each(|(seen, byte)| *seen |= byte);
        }
        assert!(ever_set.iter().all(|&byte| byte != 0));
    }

    #[test]
    fn nothing_is_drawn_for_an_empty_buffer() {
        fill(&mut []);
        assert_eq!(array::<0>(), [0_u8; 0]);
    }
}
