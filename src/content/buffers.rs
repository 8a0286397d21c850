//! Buffers for one request's ciphertext, kept by each thread so that no request allocates or zeroes.

use std::cell::RefCell;

/// A larger buffer is given back to the allocator after its request.
const LARGEST_KEPT: usize = 2 << 20;
/// Buffers begin on a page, as blocks do in the file: the kernel then copies pages to pages. Some
/// processors copy several times slower to where an allocator puts a large buffer, 16 bytes on.
const ALIGNMENT: usize = 4096;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with `len` bytes that hold nothing in particular.
pub fn with_buffer<T>(len: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buffer = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < len + ALIGNMENT {
        buffer.resize(len + ALIGNMENT, 0);
    }
    let start = buffer.as_ptr().align_offset(ALIGNMENT);
    let result = work(&mut buffer[start..start + len]);
    if buffer.len() <= LARGEST_KEPT + ALIGNMENT {
        SPARE.with_borrow_mut(|spare| spare.push(buffer));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_buffers_are_apart_and_are_used_again() {
        let outer = with_buffer(100, |outer| {
            outer.fill(1);
            with_buffer(200, |inner| inner.fill(2));
            assert!(outer.iter().all(|&byte| byte == 1));
            outer.as_ptr()
        });
        let again = with_buffer(100, |again| again.as_ptr());
        assert_eq!(again, outer);
    }

    #[test]
    fn a_huge_buffer_is_not_kept() {
        with_buffer(LARGEST_KEPT + 1, |_buffer| ());
        let largest = SPARE.with_borrow(|spare| spare.iter().map(Vec::len).max());
        assert!(largest.unwrap_or(0) <= LARGEST_KEPT + ALIGNMENT);
    }

    #[test]
    fn buffers_begin_on_a_page() {
        for len in [0, 1, 4096, 5000, LARGEST_KEPT, LARGEST_KEPT + 1] {
            with_buffer(len, |buffer| {
                assert_eq!(buffer.len(), len);
                assert!(buffer.as_ptr().addr().is_multiple_of(ALIGNMENT));
            });
        }
    }
}
