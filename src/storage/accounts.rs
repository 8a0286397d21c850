//! Names of users and groups to numbers, as this machine's name services have them (nsswitch.conf).
#![expect(unsafe_code, reason = "getpwnam_r and getgrnam_r have no safe form")]

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::ptr;

/// Room for an entry's texts; an entry that needs more is asked for again with more.
const FIRST_ROOM: usize = 4096;
const MOST_ROOM: usize = 1 << 22;

/// The number of the user of this name.
pub fn user(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    ask(|room| {
        let (mut entry, mut found) = (MaybeUninit::<libc::passwd>::uninit(), ptr::null_mut());
        // SAFETY: the name ends in NUL, `entry` and `found` are places of the right types, and the room is as long as
        // is said; all of them live until the call returns.
        let failure = unsafe {
            libc::getpwnam_r(
                name.as_ptr(),
                entry.as_mut_ptr(),
                room.as_mut_ptr().cast(),
                room.len(),
                &raw mut found,
            )
        };
        // SAFETY: where an entry was found, the call has filled in all of `entry`.
        let number =
            (failure == 0 && !found.is_null()).then(|| unsafe { entry.assume_init() }.pw_uid);
        (failure, number)
    })
}

/// The number of the group of this name.
pub fn group(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    ask(|room| {
        let (mut entry, mut found) = (MaybeUninit::<libc::group>::uninit(), ptr::null_mut());
        // SAFETY: as in `user`.
        let failure = unsafe {
            libc::getgrnam_r(
                name.as_ptr(),
                entry.as_mut_ptr(),
                room.as_mut_ptr().cast(),
                room.len(),
                &raw mut found,
            )
        };
        // SAFETY: as in `user`.
        let number =
            (failure == 0 && !found.is_null()).then(|| unsafe { entry.assume_init() }.gr_gid);
        (failure, number)
    })
}

/// Asks with more and more room.
fn ask(mut question: impl FnMut(&mut [u8]) -> (i32, Option<u32>)) -> Option<u32> {
    let mut room = vec![0; FIRST_ROOM];
    loop {
        match question(&mut room) {
            (libc::ERANGE, _) if room.len() < MOST_ROOM => room.resize(room.len() * 4, 0),
            (libc::EINTR, _) => {}
            (_, number) => return number,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_0_and_nobody_has_no_name_at_all() {
        assert_eq!((user("root"), group("root")), (Some(0), Some(0)));
        for name in ["", "no such user, ever", "a\0b"] {
            assert_eq!((user(name), group(name)), (None, None), "{name:?}");
        }
    }

    #[test]
    fn little_room_is_made_more() {
        let mut asked = Vec::new();
        let number = ask(|room| {
            asked.push(room.len());
            if asked.len() < 3 {
                (libc::ERANGE, None)
            } else {
                (0, Some(7))
            }
        });
        assert_eq!((number, asked.len()), (Some(7), 3));
        assert_eq!(ask(|_room| (libc::ERANGE, None)), None);
    }
}
