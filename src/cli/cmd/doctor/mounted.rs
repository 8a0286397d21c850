//! The mounts that are there: whether anybody serves them.

use std::time::Duration;

use super::within::within;
use super::{Area, Check, Finding};
use crate::cli::exit::Exit;
use crate::daemon::control::{Client, ControlError};
use crate::daemon::mounts::{self, Mount};
use crate::daemon::status::MountStatus;

const MOUNT: Check = Area("mounts").check("mount", Exit::NoAnswer);

pub(super) fn look(limit: Duration) -> Vec<Finding> {
    match mounts::read() {
        Err(error) => vec![MOUNT.warn(
            format!("the mounts cannot be listed: {error}"),
            "see that /proc is mounted",
        )],
        Ok(all) => all
            .into_iter()
            .filter(Mount::is_ours)
            .map(|mount| of_mount(mount, limit))
            .collect(),
    }
}

fn of_mount(mount: Mount, limit: Duration) -> Finding {
    let place = mount.mountpoint.display().to_string();
    match ask(mount, limit) {
        Answer::Status(status) => of_status(&place, &status),
        Answer::OfOthers => MOUNT.ok(format!("{place} is another user's")),
        Answer::Dead => MOUNT.fail(
            format!("{place}: the process behind the mount is gone"),
            format!("`envelopefs umount {place}`, and mount it again"),
        ),
        Answer::None(why) => MOUNT.warn(
            format!("{place}: the mount works, but does not tell of itself: {why}"),
            "see that /run/envelopefs or XDG_RUNTIME_DIR can be written, and mount it again",
        ),
        Answer::Silent => MOUNT.fail(
            format!("{place}: the mount does not answer in time"),
            format!("see its log; `envelopefs umount --lazy {place}` takes it away"),
        ),
    }
}

enum Answer {
    Dead,
    None(String),
    OfOthers,
    Silent,
    Status(Box<MountStatus>),
}

fn ask(mount: Mount, limit: Duration) -> Answer {
    let asked = mount.clone();
    let answer = within(limit, move || {
        Client::connect(&asked).and_then(Client::status)
    });
    match answer {
        None => Answer::Silent,
        Some(Ok(value)) => match serde_json::from_value(value) {
            Ok(status) => Answer::Status(Box::new(status)),
            Err(_) => Answer::None(ControlError::Malformed.to_string()),
        },
        Some(Err(ControlError::Denied)) => Answer::OfOthers,
        Some(Err(error)) => match within(limit, move || std::fs::metadata(&mount.mountpoint)) {
            None => Answer::Silent,
            Some(Err(dead)) if dead.raw_os_error() == Some(libc::ENOTCONN) => Answer::Dead,
            Some(_) => Answer::None(error.to_string()),
        },
    }
}

fn of_status(place: &str, status: &MountStatus) -> Finding {
    if !status.locked.is_empty() {
        return MOUNT.warn(
            format!("{place} is locked: its files cannot be read"),
            format!("`envelopefs unlock {place}`"),
        );
    }
    if status.integrity_failures > 0 {
        return MOUNT.warn(
            format!(
                "{place}: {} reads met ciphertext that is not what was written",
                status.integrity_failures
            ),
            format!("unmount it and run `envelopefs check {}`", status.cipherdir),
        );
    }
    match status.providers.iter().find(|provider| !provider.healthy) {
        Some(failing) => MOUNT.warn(
            format!("{place}: {} fails: {}", failing.uri, failing.health),
            "see that the key provider is reachable and the key enabled",
        ),
        None => MOUNT.ok(format!("{place} is served by process {}", status.pid)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::cmd::doctor::Level;
    use crate::daemon::status::ProviderStatus;

    #[test]
    fn what_a_mount_tells_of_itself_is_weighed() {
        let well = MountStatus::default();
        assert_eq!(of_status("/m", &well).level, Level::Ok);
        let locked = MountStatus {
            locked: "user".into(),
            ..well.clone()
        };
        let finding = of_status("/m", &locked);
        assert!(finding.level == Level::Warn && finding.mend.contains("unlock /m"));
        let damaged = MountStatus {
            integrity_failures: 3,
            ..well.clone()
        };
        assert!(of_status("/m", &damaged).mend.contains("check"));
        let failing = MountStatus {
            providers: vec![ProviderStatus {
                uri: "file:///k".into(),
                health: "gone".into(),
                ..ProviderStatus::default()
            }],
            ..well
        };
        assert!(of_status("/m", &failing).said.contains("file:///k"));
    }
}
