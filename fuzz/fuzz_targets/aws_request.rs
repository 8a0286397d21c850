#![no_main]

use std::sync::LazyLock;

use envelopefs::fuzz::request::{Service, aws_request};
use libfuzzer_sys::fuzz_target;

/// In a folder that stays until the system clears its temporary ones away: a fuzzer has no end of its own.
static SERVICE: LazyLock<Service> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder").keep();
    Service::new(&folder)
});

fuzz_target!(|data: &[u8]| {
    let _way = aws_request(&SERVICE, data);
});
