//! Metrics: the file that a mount keeps filled, and `status --prometheus`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::harness::{Volume, refuses, run, wait_until};

/// The value of the sample with this name and these labels.
#[track_caller]
fn value(text: &str, name: &str, label: &str) -> f64 {
    let sample = text
        .lines()
        .find(|line| line.starts_with(&format!("{name}{{")) && line.contains(label));
    let sample = sample.unwrap_or_else(|| panic!("no {name} with {label:?} in\n{text}"));
    sample.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn what_is_done_is_counted_and_no_name_is_told() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    fs::write(mount.path("secret-name"), vec![1; 100_000]).unwrap();
    let mount = mount.again();
    assert_eq!(fs::read(mount.path("secret-name")).unwrap().len(), 100_000);
    let ask = || {
        run(volume
            .envelopefs("status")
            .arg(mount.root())
            .arg("--prometheus"))
    };
    let text = ask();
    let point = format!("mountpoint=\"{}\"", mount.root().display());
    assert_eq!(
        value(&text, "envelopefs_read_bytes_total", &point),
        100_000.0
    );
    assert!(value(&text, "envelopefs_operations_total", "operation=\"read\"") >= 1.0);
    assert!(value(&text, "envelopefs_provider_calls_total", "call=\"unwrap\"") >= 1.0);
    assert!(value(&text, "envelopefs_provider_latency_seconds_count", "") >= 1.0);
    assert_eq!(value(&text, "envelopefs_locked", "reason=\"user\""), 0.0);
    assert!(!text.contains("secret-name"));
    let probes = |text: &str| value(text, "envelopefs_provider_calls_total", "call=\"probe\"");
    assert_eq!(
        probes(&text),
        probes(&ask()),
        "a look at metrics asks a provider"
    );
    run(volume.envelopefs("lock").arg(mount.root()));
    assert_eq!(value(&ask(), "envelopefs_locked", "reason=\"user\""), 1.0);
}

#[test]
fn a_file_of_metrics_is_kept_and_goes_with_the_mount() {
    let volume = Volume::create(&[]);
    let file = volume.home().join("m.prom");
    let mount = volume.mount_with(&["--metrics", file.to_str().unwrap()]);
    wait_until("the file", || file.exists());
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(value(&text, "envelopefs_info", "transport="), 1.0);
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o644
    );
    mount.unmount();
    assert!(!file.exists(), "old figures stay");
}

#[test]
fn a_file_of_metrics_lies_outside_the_volume() {
    let volume = Volume::create(&[]);
    for folder in [
        volume.cipher_dir(),
        volume.mountpoint(),
        "/nonexistent".into(),
    ] {
        let file = folder.join("m.prom").display().to_string();
        let code = if Path::new("/nonexistent") == folder {
            1
        } else {
            2
        };
        volume.refuses_mount(&["--metrics", &file], code, &["--metrics"]);
    }
    refuses(
        volume.envelopefs("status").args(["--json", "--prometheus"]),
        2,
        &["--prometheus"],
    );
}
