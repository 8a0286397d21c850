//! Fixed-size fields read from and written to bytes one after the other. Nothing here indexes:
//! what is not there is `None`.

/// Reads fields from the front of a slice.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*field)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// What was not read yet.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }
}

/// Writes fields to the front of a slice.
pub(super) struct Writer<'a> {
    rest: &'a mut [u8],
}

impl<'a> Writer<'a> {
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Writes `field`, and nothing where there is no room for all of it: the callers give
    /// buffers of the exact size, and their tests hold them to it.
    pub(super) fn put(&mut self, field: &[u8]) {
        let rest = std::mem::take(&mut self.rest);
        if let Some((place, rest)) = rest.split_at_mut_checked(field.len()) {
            place.copy_from_slice(field);
            self.rest = rest;
        }
    }

    /// What was not written yet.
    pub(super) fn rest(self) -> &'a mut [u8] {
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_little_endian_and_follow_one_another() {
        let mut bytes = [0; 8];
        let mut writer = Writer::new(&mut bytes);
        writer.put(&0x0201_u16.to_le_bytes());
        writer.put(&[3, 4, 5, 6]);
        assert_eq!(writer.rest().len(), 2);
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u16(), Some(0x0201));
        assert_eq!(reader.u32(), Some(0x0605_0403));
        assert_eq!(reader.rest(), [0, 0]);
    }

    #[test]
    fn a_field_that_is_cut_short_is_not_read() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u32(), None);
        assert_eq!(reader.u64(), None);
        assert_eq!(reader.u8(), Some(1));
        assert_eq!(reader.rest(), [2, 3]);
    }

    #[test]
    fn a_field_without_room_is_not_written_in_part() {
        let mut bytes = [9; 3];
        Writer::new(&mut bytes).put(&[1, 2, 3, 4]);
        assert_eq!(bytes, [9; 3]);
    }
}
