//! What is derived from the volume key.

use crate::crypto::{Label, LockedMemoryError, MacKey, SecretKey, SivKey, XaesKey, derive};
use crate::format::names::NameKey;
use crate::format::xattrs::XattrKeys;
use crate::units::VolumeId;

/// The keys of a volume, all derived from its one volume key.
#[derive(Debug)]
pub(super) struct VolumeSecrets {
    pub(super) names: NameKey,
    pub(super) symlinks: XaesKey,
    pub(super) xattrs: XattrKeys,
    /// Wraps the data keys of files in scope `volume`.
    pub(super) dek_wrap: SecretKey,
    /// Tags the files that were made in this volume.
    pub(super) membership: MacKey,
    /// Tags `volume.json`.
    pub(super) config: MacKey,
}

impl VolumeSecrets {
    pub(super) fn derive(key: &SecretKey, id: &VolumeId) -> Result<Self, LockedMemoryError> {
        let subkey = |label| derive(key, &id.0, label);
        let names = SivKey::new(subkey(Label::VolumeNames1)?, subkey(Label::VolumeNames2)?);
        let xattr_names = SivKey::new(
            subkey(Label::VolumeXattrNames1)?,
            subkey(Label::VolumeXattrNames2)?,
        );
        let xattr_values = XaesKey::new(&subkey(Label::VolumeXattrValues)?);
        Ok(Self {
            names: NameKey::new(names),
            symlinks: XaesKey::new(&subkey(Label::VolumeSymlinks)?),
            xattrs: XattrKeys::new(xattr_names, xattr_values),
            dek_wrap: subkey(Label::VolumeDekWrap)?,
            membership: MacKey::new(subkey(Label::VolumeMembership)?),
            config: MacKey::new(subkey(Label::VolumeConfig)?),
        })
    }
}
