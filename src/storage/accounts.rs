//! Names of users and groups to numbers, as this machine's name services have them (nsswitch.conf).
#![expect(unsafe_code, reason = "getpwnam_r and getgrnam_r have no safe form")]

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::ptr;

use libc::{c_char, c_int, size_t};

use crate::lookups::{self, Account};

/// Room for an entry's texts; an entry that needs more is asked for again with more.
const FIRST_ROOM: usize = 4096;
const MOST_ROOM: usize = 1 << 22;

/// `getpwnam_r` or `getgrnam_r`: takes a name, a place for the entry, room for its texts and the length of
/// that, and a place that says whether an entry was found.
type LookUp<T> =
    unsafe extern "C" fn(*const c_char, *mut T, *mut c_char, size_t, *mut *mut T) -> c_int;

/// The number of the user of this name.
pub fn user(name: &str) -> Option<u32> {
    known(Account::User, name)
}

/// The number of the group of this name.
pub fn group(name: &str) -> Option<u32> {
    known(Account::Group, name)
}

fn known(kind: Account, name: &str) -> Option<u32> {
    match lookups::elsewhere() {
        Some(lookups) => lookups.account(kind, name).ok().flatten(),
        None => look_up(kind, name),
    }
}

/// The number of the user or the group of this name, as this very process finds it.
pub fn look_up(kind: Account, name: &str) -> Option<u32> {
    match kind {
        Account::User => number(name, libc::getpwnam_r, |entry| entry.pw_uid),
        Account::Group => number(name, libc::getgrnam_r, |entry| entry.gr_gid),
    }
}

fn number<T>(name: &str, look_up: LookUp<T>, of: fn(&T) -> u32) -> Option<u32> {
    let name = CString::new(name).ok()?;
    ask(|room| {
        let (mut entry, mut found) = (MaybeUninit::<T>::uninit(), ptr::null_mut());
        // SAFETY: the name ends in NUL, `entry` and `found` are places of the right types, and the room is as long as
        // is said; all of them live until the call returns.
        let failure = unsafe {
            look_up(
                name.as_ptr(),
                entry.as_mut_ptr(),
                room.as_mut_ptr().cast(),
                room.len(),
                &raw mut found,
            )
        };
        // SAFETY: where an entry was found, the call has filled in all of `entry`.
        let number =
            (failure == 0 && !found.is_null()).then(|| of(unsafe { entry.assume_init_ref() }));
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
