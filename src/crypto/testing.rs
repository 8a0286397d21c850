//! What the tests of this room share.

use data_encoding::HEXLOWER;

use crate::crypto::secret::SecretKey;

/// Bytes of lower-case hexadecimal digits.
pub(super) fn unhex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

/// The same, where the length is known.
pub(super) fn unhex_array<const N: usize>(text: &str) -> [u8; N] {
    unhex(text).try_into().unwrap()
}

/// A key of hexadecimal digits.
pub(super) fn key_of_hex(text: &str) -> SecretKey {
    SecretKey::from_slice(&unhex(text)).unwrap()
}

/// A key of one byte, repeated.
pub(super) fn key_of(byte: u8) -> SecretKey {
    SecretKey::from_bytes(&[byte; 32]).unwrap()
}

/// Every string that differs from `bytes` in one bit of one byte.
pub(super) fn one_bit_flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len()).map(move |place| {
        let mut changed = bytes.to_vec();
        changed[place] ^= 1 << (place % 8);
        changed
    })
}

/// SHAKE-128 (FIPS 202), for C2SP's randomized test and no other use: slow and not constant-time.
pub(super) struct Shake128 {
    state: [u64; 25],
    /// Where in the rate the next byte goes, or comes from.
    place: usize,
    squeezing: bool,
}

impl Shake128 {
    const RATE: usize = 168;

    pub(super) fn new() -> Self {
        Self {
            state: [0; 25],
            place: 0,
            squeezing: false,
        }
    }

    pub(super) fn absorb(&mut self, bytes: &[u8]) {
        assert!(!self.squeezing);
        for &byte in bytes {
            self.xor(self.place, byte);
            self.place += 1;
            if self.place == Self::RATE {
                self.permute();
            }
        }
    }

    pub(super) fn squeeze(&mut self, out: &mut [u8]) {
        if !self.squeezing {
            self.xor(self.place, 0x1f);
            self.xor(Self::RATE - 1, 0x80);
            self.permute();
            self.squeezing = true;
        }
        for byte in out {
            if self.place == Self::RATE {
                self.permute();
            }
            *byte = self.state[self.place / 8].to_le_bytes()[self.place % 8];
            self.place += 1;
        }
    }

    pub(super) fn squeeze_vec(&mut self, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.squeeze(&mut out);
        out
    }

    pub(super) fn squeeze_array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.squeeze(&mut out);
        out
    }

    fn xor(&mut self, place: usize, byte: u8) {
        self.state[place / 8] ^= u64::from(byte) << (8 * (place % 8));
    }

    fn permute(&mut self) {
        let mut lfsr = 1_u8;
        for _round in 0..24 {
            self.theta();
            self.rho_and_pi();
            self.chi();
            self.iota(&mut lfsr);
        }
        self.place = 0;
    }

    fn theta(&mut self) {
        let parity: [u64; 5] =
            std::array::from_fn(|x| (0..5).fold(0, |sum, y| sum ^ self.state[x + 5 * y]));
        for (place, lane) in self.state.iter_mut().enumerate() {
            let x = place % 5;
            *lane ^= parity[(x + 4) % 5] ^ parity[(x + 1) % 5].rotate_left(1);
        }
    }

    fn rho_and_pi(&mut self) {
        let (mut x, mut y, mut carried) = (1, 0, self.state[1]);
        for step in 0..24_u32 {
            (x, y) = (y, (2 * x + 3 * y) % 5);
            let rotated = carried.rotate_left((step + 1) * (step + 2) / 2 % 64);
            carried = std::mem::replace(&mut self.state[x + 5 * y], rotated);
        }
    }

    fn chi(&mut self) {
        for row in self.state.chunks_exact_mut(5) {
            let old: [u64; 5] = std::array::from_fn(|x| row[x]);
            for x in 0..5 {
                row[x] = old[x] ^ (!old[(x + 1) % 5] & old[(x + 2) % 5]);
            }
        }
    }

    /// The round constant comes out of FIPS 202's LFSR, one bit at the places 2^j - 1.
    fn iota(&mut self, lfsr: &mut u8) {
        for j in 0..7 {
            if *lfsr & 1 != 0 {
                self.state[0] ^= 1 << ((1_u32 << j) - 1);
            }
            *lfsr = (*lfsr << 1) ^ (if *lfsr & 0x80 == 0 { 0 } else { 0x71 });
        }
    }
}

#[test]
fn shake128_of_nothing_is_what_c2sp_says() {
    let stream = Shake128::new().squeeze_array();
    assert_eq!(
        stream,
        unhex_array::<16>("7f9c2ba4e88f827d616045507605853e")
    );
}
