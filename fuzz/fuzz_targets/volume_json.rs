#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _way = envelopefs::fuzz::volume_json(data);
});
