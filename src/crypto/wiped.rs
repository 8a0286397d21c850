//! Buffers that leave nothing of themselves behind.

use zeroize::Zeroizing;

/// Moves what `bytes` hold into a buffer with room for `room` bytes, at least as many as there are. A vector that grows by
/// itself frees its old memory as it is; this one is wiped.
pub fn move_wiped(bytes: &mut Zeroizing<Vec<u8>>, room: usize) {
    let mut larger = Zeroizing::new(Vec::with_capacity(room.max(bytes.len())));
    larger.extend_from_slice(bytes);
    *bytes = larger;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_is_the_same_and_has_the_room() {
        let mut bytes = Zeroizing::new(b"secret".to_vec());
        move_wiped(&mut bytes, 100);
        assert_eq!(*bytes, b"secret");
        assert!(bytes.capacity() >= 100);
        move_wiped(&mut bytes, 2);
        assert_eq!(*bytes, b"secret");
    }
}
