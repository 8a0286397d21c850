//! Is a signed request really from the holder of an access key.
