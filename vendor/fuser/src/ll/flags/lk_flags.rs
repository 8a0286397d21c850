use std::fmt::Display;
use std::fmt::Formatter;

bitflags::bitflags! {
    /// Lock flags.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct LkFlags: u32 {
        /// The request comes from `flock()`, not from `fcntl()`.
        const FUSE_LK_FLOCK = 1 << 0;
    }
}

impl Display for LkFlags {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        Display::fmt(&self.bits(), f)
    }
}
